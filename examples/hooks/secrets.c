/*
 * Denies what carries a token that is not for the host it goes to: in the path, the
 * query or a header field. Against accidents: a tool that wants to can encode it.
 *
 * A token is told by the prefix that its issuer documents, its alphabet and its least
 * length. It may go to its issuer's hosts. A placeholder of Penstock's is none.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "penstock.h"

enum alphabet { LETTERS = 1, UPPER = 2, DIGITS = 4, HEX = 8, DASH = 16, LINE = 32, DOT = 64 };

#define WORD (LETTERS | DIGITS)

static const struct token {
	const char *prefix;
	unsigned char alphabet;
	unsigned char least; /* characters behind the prefix */
	const char *what;
	const char *home; /* it may go to this host, and below it */
} tokens[] = {
	{"AGE-SECRET-KEY-1", UPPER | DIGITS, 58, "an age key", ""},
	{"AIza", WORD | DASH | LINE, 35, "a key of Google", "googleapis.com"},
	{"AKIA", UPPER | DIGITS, 16, "an access key of AWS", "amazonaws.com"},
	{"ASIA", UPPER | DIGITS, 16, "an access key of AWS", "amazonaws.com"},
	{"GOCSPX-", WORD | DASH | LINE, 28, "a client secret of Google", "googleapis.com"},
	{"SG.", WORD | DASH | LINE | DOT, 60, "a key of SendGrid", "sendgrid.com"},
	{"dapi", HEX, 32, "a token of Databricks", "databricks.com"},
	{"dckr_pat_", WORD | DASH | LINE, 20, "a token of Docker", "docker.com"},
	{"dop_v1_", HEX, 64, "a token of DigitalOcean", "digitalocean.com"},
	{"gho_", WORD, 36, "a token of GitHub", "github.com"},
	{"ghp_", WORD, 36, "a token of GitHub", "github.com"},
	{"ghr_", WORD, 36, "a token of GitHub", "github.com"},
	{"ghs_", WORD, 36, "a token of GitHub", "github.com"},
	{"ghu_", WORD, 36, "a token of GitHub", "github.com"},
	{"github_pat_", WORD | LINE, 80, "a token of GitHub", "github.com"},
	{"glpat-", WORD | DASH | LINE, 20, "a token of GitLab", "gitlab.com"},
	{"gsk_", WORD, 40, "a key of Groq", "groq.com"},
	{"hf_", LETTERS, 34, "a token of Hugging Face", "huggingface.co"},
	{"hvs.", WORD | DASH | LINE, 24, "a token of Vault", ""},
	{"lin_api_", WORD, 40, "a key of Linear", "linear.app"},
	{"npm_", WORD, 36, "a token of npm", "npmjs.org"},
	{"pypi-AgEIcHlwaS5vcmc", WORD | DASH | LINE, 50, "a token of PyPI", "pypi.org"},
	{"r8_", WORD, 37, "a token of Replicate", "replicate.com"},
	{"rk_live_", WORD, 24, "a key of Stripe", "stripe.com"},
	{"sk-ant-", WORD | DASH | LINE, 32, "a key of Anthropic", "anthropic.com"},
	{"sk-or-v1-", HEX, 64, "a key of OpenRouter", "openrouter.ai"},
	{"sk-proj-", WORD | DASH | LINE, 40, "a key of OpenAI", "openai.com"},
	{"sk-svcacct-", WORD | DASH | LINE, 40, "a key of OpenAI", "openai.com"},
	{"sk-", WORD, 48, "a key of OpenAI", "openai.com"},
	{"sk_live_", WORD, 24, "a key of Stripe", "stripe.com"},
	{"xapp-", WORD | DASH, 40, "a token of Slack", "slack.com"},
	{"xoxa-", WORD | DASH, 20, "a token of Slack", "slack.com"},
	{"xoxb-", WORD | DASH, 20, "a token of Slack", "slack.com"},
	{"xoxp-", WORD | DASH, 20, "a token of Slack", "slack.com"},
	{"xoxr-", WORD | DASH, 20, "a token of Slack", "slack.com"},
};

static int in(char c, unsigned alphabet)
{
	if ('0' <= c && c <= '9')
		return alphabet & (DIGITS | HEX);
	if ('a' <= c && c <= 'z')
		return alphabet & LETTERS || (alphabet & HEX && c <= 'f');
	if ('A' <= c && c <= 'Z')
		return alphabet & (LETTERS | UPPER);
	return (c == '-' && alphabet & DASH) || (c == '_' && alphabet & LINE) || (c == '.' && alphabet & DOT);
}

/* Whether the host is the token's own. */
static int at_home(struct penstock_text host, const char *home)
{
	size_t n = penstock_length(home);
	return n && penstock_ends(host, home) && (host.size == n || host.at[host.size - n - 1] == '.');
}

static char reason[128] = "it carries ";

static void scan(struct penstock_text t, struct penstock_text host, struct penstock_decision *d)
{
	for (size_t i = 0; i < t.size; i++) {
		char c = t.at[i];
		if (c < 'A' || c > 'x' || (i && in(t.at[i - 1], WORD | LINE)))
			continue; /* no beginning of a word */
		for (size_t k = 0; k < sizeof tokens / sizeof *tokens; k++) {
			const struct token *token = &tokens[k];
			struct penstock_text rest = {t.at + i, t.size - i};
			size_t n = 0;
			if (c != token->prefix[0] || !penstock_begins(rest, token->prefix))
				continue;
			rest.at += penstock_length(token->prefix);
			rest.size -= penstock_length(token->prefix);
			if (penstock_begins(rest, "PENSTOCKph"))
				break;
			while (n < rest.size && in(rest.at[n], token->alphabet))
				n++;
			if (n < token->least || at_home(host, token->home))
				continue;
			*penstock_put(reason + 11, token->what, penstock_length(token->what)) = 0;
			penstock_deny(d, reason);
			return;
		}
	}
}

static void judge(const struct penstock_request *q, struct penstock_decision *d)
{
	scan(q->path, q->host, d);
	scan(q->query, q->host, d);
	scan(penstock_more(q, "headers"), q->host, d);
}
