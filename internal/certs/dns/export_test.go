package dns

import "slices"

// Kind is what tests see of a kind of provider.
type Kind struct {
	Name       string
	Synonyms   []string
	Fields     []string // those that do something
	Everything []string // every name of every field
}

// Kinds gives them all.
func Kinds() []Kind {
	var list []Kind
	for _, k := range kinds() {
		one := Kind{Name: k.name, Synonyms: slices.Clone(k.synonyms), Everything: k.allNames()}
		for _, f := range k.fields {
			if !f.unused && f.refused == "" {
				one.Fields = append(append(one.Fields, f.name), f.synonyms...)
			}
		}
		list = append(list, one)
	}
	return list
}

// ParseKeyFile gives name, algorithm and secret of a key.
func ParseKeyFile(text string) (name, algorithm, secret string, err error) {
	k, err := parseKeyFile(text)
	return k.name, k.algorithm, k.secret, err
}

// ParseIssueValue gives the issuer and the number of parameters.
func ParseIssueValue(s string) (issuer string, params int, err error) {
	v, err := parseIssueValue(s)
	return v.issuer, len(v.params), err
}

// ParseAccounts gives the domains of an accounts file.
func ParseAccounts(data []byte) ([]string, error) {
	accounts, err := parseAccounts(data)
	var domains []string
	for d := range accounts {
		domains = append(domains, d)
	}
	slices.Sort(domains)
	return domains, err
}
