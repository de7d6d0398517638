package dns

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// parseKeyFile reads a TSIG key as BIND writes it (tsig-keygen, ddns-confgen): key "NAME" { algorithm hmac-sha256; secret "BASE64"; };
// The first key counts. Errors do not quote the file.
func parseKeyFile(text string) (tsigKey, error) {
	words, err := keyWords(text)
	if err != nil {
		return tsigKey{}, err
	}
	const form = `it must read: key "NAME" { algorithm hmac-sha256; secret "BASE64"; };`
	if len(words) < 3 || words[0] != "key" || words[2] != "{" {
		return tsigKey{}, errors.New(form)
	}
	k := tsigKey{name: plain(words[1])}
	algorithm := ""
	for rest := words[3:]; len(rest) > 0 && rest[0] != "}"; rest = rest[3:] {
		if len(rest) < 3 || rest[2] != ";" {
			return tsigKey{}, errors.New(form)
		}
		switch rest[0] {
		case "algorithm":
			algorithm = rest[1]
		case "secret":
			k.secret = rest[1]
		default:
			return tsigKey{}, errors.New(form)
		}
	}
	if k.name == "" || algorithm == "" || k.secret == "" {
		return tsigKey{}, errors.New(form)
	}
	if k.algorithm, err = algorithmOf(algorithm); err != nil {
		return tsigKey{}, err
	}
	return k, k.check()
}

// keyWords splits the language of BIND's configuration into words and signs; comments go.
func keyWords(text string) ([]string, error) {
	var words []string
	for text = strings.TrimLeftFunc(text, unicode.IsSpace); text != ""; text = strings.TrimLeftFunc(text, unicode.IsSpace) {
		switch {
		case strings.HasPrefix(text, "#"), strings.HasPrefix(text, "//"):
			_, text, _ = strings.Cut(text, "\n")
		case strings.HasPrefix(text, "/*"):
			_, after, closed := strings.Cut(text[2:], "*/")
			if !closed {
				return nil, errors.New("a comment has no end")
			}
			text = after
		case strings.ContainsRune("{};", rune(text[0])):
			words, text = append(words, text[:1]), text[1:]
		case text[0] == '"':
			word, after, closed := strings.Cut(text[1:], `"`)
			if !closed {
				return nil, fmt.Errorf("a quoted word has no end")
			}
			words, text = append(words, word), after
		default:
			n := strings.IndexFunc(text, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(`{};"#`, r) })
			if n < 0 {
				n = len(text)
			}
			words, text = append(words, text[:n]), text[n:]
		}
	}
	return words, nil
}
