"""A hook that takes personal data out of requests: e-mail addresses, payment card numbers,
US social security numbers and IBANs become [redacted:KIND]. See README.md.

It finds what stands there as text, in JSON, forms and other text. It does not find what is
spelled out, split, compressed or encoded: it is for accidents, not for a tool that wants to.
What is no text it denies.
"""
import base64, json, re, sys
import urllib.parse

EMAIL = re.compile(r"(?<!\\)[A-Za-z0-9][A-Za-z0-9._%+'-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}")
DIGITS = re.compile(r"(?<![0-9])[0-9](?:[ -]?[0-9]){12,}(?![0-9])")
SSN = re.compile(r"(?<![0-9-])(?!000|666|9)[0-9]{3}([ -])(?!00)[0-9]{2}\1(?!0000)[0-9]{4}(?![0-9-])")
IBAN = re.compile(r"(?<![A-Z0-9])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{1,4}){3,8}(?![A-Za-z0-9])")
TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?', re.S)


def card(digits):
    """Whether it is as long as a card's number, begins like one and ends with its check
    digit (ISO/IEC 7812-1, annex B)."""
    if not 13 <= len(digits) <= 19 or digits[0] not in "23456":
        return False
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def iban(text):
    """Whether its check digits are right (ISO 13616, ISO 7064 mod 97-10)."""
    return 15 <= len(text) <= 34 and int("".join(str(int(c, 36)) for c in text[4:] + text[:4])) % 97 == 1


def longest(right, kind):
    """Replaces the longest parts of a match that are right, each of whole groups."""
    def replace(match):
        groups, out, i = re.split("([ -])", match[0]), [], 0
        while i < len(groups):
            for end in range(min(len(groups), i + 40) // 2 * 2 + 1, i, -2):
                if right("".join(groups[i:end:2])):
                    out.append(f"[redacted:{kind}]")
                    i = end
                    break
            else:
                out.append(groups[i])
                i += 1
            if i < len(groups) and i % 2:
                out.append(groups[i])
                i += 1
        return "".join(out)
    return replace


def plain(text):
    """A text without them."""
    text = EMAIL.sub(lambda m: m[0] if m[0].startswith("git@") else "[redacted:email]", text)
    text = IBAN.sub(longest(iban, "iban"), text)
    text = DIGITS.sub(longest(card, "card"), text)
    return SSN.sub("[redacted:ssn]", text)


def document(text, depth=0):
    """A document of JSON without them: of what has none, each byte stays as it is."""
    def token(match):
        old = json.loads(match[0]) if match[0][0] == '"' else match[0]
        new = old
        if depth < 3 and old[:1] in "{[":  # arguments of a tool are JSON in a string
            try:
                json.loads(old)
                new = document(old, depth + 1)
            except ValueError:
                pass
        new = plain(new)
        return match[0] if new == old else json.dumps(new)
    return TOKEN.sub(token, text)


def form(text):
    """A form (application/x-www-form-urlencoded) without them."""
    def part(old):
        new = plain(urllib.parse.unquote_plus(old))
        return old if new == urllib.parse.unquote_plus(old) else urllib.parse.quote_plus(new)
    return "&".join("=".join(part(p) for p in pair.split("=")) for pair in text.split("&"))


def redacted(data, content_type):
    """The body without them, or ValueError for what is no text."""
    kind, _, parameters = content_type.lower().partition(";")
    kind = kind.strip()
    charset = parameters.partition("charset=")[2].strip(' "') or "utf-8"
    if charset not in ("utf-8", "us-ascii", "iso-8859-1"):
        raise ValueError("the hook does not read this charset")
    text = data.decode("utf-8", "surrogateescape")  # what is no UTF-8 stays as it is
    if kind == "application/x-www-form-urlencoded":
        text = form(text)
    elif kind == "application/json" or kind.endswith("+json"):
        json.loads(text)
        text = document(text)
    elif kind in ("", "application/xml", "application/x-ndjson", "application/graphql") or kind.startswith("text/"):
        text = plain(text)
    else:
        raise ValueError("the hook does not read this type of body")
    return text.encode("utf-8", "surrogateescape")


def answer(question):
    """The decision about a question."""
    decision = {"version": 1, "id": question["id"], "decision": "next"}
    body = question["body"]
    old = base64.b64decode(body["data"])
    try:
        new = redacted(old, question["headers"].get("content-type", [""])[0])
    except (ValueError, RecursionError) as e:
        reason = str(e) if str(e).startswith("the hook") else "the body is not the JSON that it should be"
        return decision | {"decision": "deny", "reason": reason}
    if new != old:
        decision["body"] = base64.b64encode(new).decode()
    return decision


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
