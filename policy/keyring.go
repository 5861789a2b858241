package policy

import (
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// KeyringItem says which item of a keyring is meant: the one with this label, or the
// one that has these attributes, and others perhaps.
type KeyringItem struct {
	Label      string
	Attributes map[string]string
}

// String is the item as a policy has it after keyring:, with its attributes in order.
func (i KeyringItem) String() string {
	pairs := make([]string, 0, len(i.Attributes))
	for _, k := range slices.Sorted(maps.Keys(i.Attributes)) {
		pairs = append(pairs, k+"="+i.Attributes[k])
	}
	return i.Label + strings.Join(pairs, ",")
}

// KeyringItem returns what o.Keyring means; the zero value if that is none.
func (o *Origin) KeyringItem() KeyringItem {
	i, msg := parseKeyringItem(o.Keyring)
	if msg != "" {
		return KeyringItem{}
	}
	return i
}

// Bounds of an item's name.
const (
	maxKeyring    = 1024 // bytes
	maxAttributes = 16
)

// parseKeyringItem reads attributes, or a label, which has no =. msg says what is wrong.
func parseKeyringItem(s string) (i KeyringItem, msg string) {
	switch {
	case s == "":
		return i, "is empty"
	case len(s) > maxKeyring:
		return i, "is longer than 1024 bytes"
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return i, "has characters that can't be printed"
	case !strings.Contains(s, "="):
		if s != strings.TrimSpace(s) {
			return i, "has a space at an end"
		}
		return KeyringItem{Label: s}, ""
	}
	i.Attributes = map[string]string{}
	for pair := range strings.SplitSeq(s, ",") {
		k, v, _ := strings.Cut(pair, "=")
		_, twice := i.Attributes[k]
		switch {
		case k == "" || v == "":
			return i, "has an attribute without name or value"
		case k != strings.TrimSpace(k) || v != strings.TrimSpace(v):
			return i, "has a space at an end of a name or a value"
		case twice:
			return i, "has an attribute twice"
		}
		i.Attributes[k] = v
	}
	if len(i.Attributes) > maxAttributes {
		return i, "has more than 16 attributes"
	}
	return i, ""
}

// validKeyring says whether s is an item as the parser makes it.
func validKeyring(s string) bool {
	i, msg := parseKeyringItem(s)
	return msg == "" && i.String() == s
}
