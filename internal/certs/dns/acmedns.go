package dns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// acmeDNS updates the records of a joohoi acme-dns server. It keeps the two newest values of an account, and removes none.
type acmeDNS struct {
	client   *http.Client
	server   string
	accounts map[string]acmeDNSAccount // by domain; the one under "" is for all
}

// acmeDNSAccount is an account as the server's /register gives it, and as clients keep it in their files.
type acmeDNSAccount struct {
	Username   string `json:"username"`
	Password   string `json:"password"`
	Subdomain  string `json:"subdomain"`
	FullDomain string `json:"fulldomain"`
	ServerURL  string `json:"server_url"`
}

func checkAcmeDNS(v values) error {
	server := v.get("server")
	if server == "" || strings.HasPrefix(server, fromFile) {
		return nil
	}
	return checkURL(server)
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return errors.New("server is no URL (https://HOST)")
	}
	return nil
}

func openAcmeDNS(n network, v values) (writer, error) {
	a := acmeDNS{client: n.client, server: v.get("server")}
	path := v.get("accounts")
	if path == "" {
		a.accounts = map[string]acmeDNSAccount{"": {Username: v.get("username"), Password: v.get("password"), Subdomain: v.get("subdomain")}}
		return a, nil
	}
	data, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the accounts: %w", err)
	}
	if a.accounts, err = parseAccounts(data); err != nil {
		return nil, fmt.Errorf("cannot read the accounts in %s: %w", path, err)
	}
	return a, nil
}

// parseAccounts reads the accounts file of acme-dns clients: an object with an account for each domain.
func parseAccounts(data []byte) (map[string]acmeDNSAccount, error) {
	accounts := make(map[string]acmeDNSAccount)
	if err := json.Unmarshal(data, &accounts); err != nil {
		return nil, errors.New(`it is no JSON object of the form {"DOMAIN": {"username": ..., "password": ..., "subdomain": ...}}`) // the cause quotes the file
	}
	found := make(map[string]acmeDNSAccount, len(accounts))
	for domain, a := range accounts {
		if a.Username == "" || a.Password == "" || a.Subdomain == "" {
			return nil, fmt.Errorf("the account of %q has no username, password or subdomain", domain)
		}
		found[plain(strings.TrimPrefix(domain, "*."))] = a
	}
	return found, nil
}

// account gives that of the domain whose challenge name is, or that for all.
func (a acmeDNS) account(name string) (acmeDNSAccount, error) {
	domain := strings.TrimPrefix(name, "_acme-challenge.")
	if account, ok := a.accounts[domain]; ok {
		return account, nil
	}
	if account, ok := a.accounts[""]; ok {
		return account, nil
	}
	return acmeDNSAccount{}, fmt.Errorf("there is no account of acme-dns for %s (register one, and add it to the accounts under %q)", domain, domain)
}

func (a acmeDNS) add(ctx context.Context, r record) error {
	account, err := a.account(r.asked)
	if err != nil {
		return err
	}
	if end := account.FullDomain; r.name == r.asked || (end != "" && r.name != plain(end)) {
		if end == "" {
			end = account.Subdomain + ".YOUR-ACME-DNS-DOMAIN"
		}
		return fmt.Errorf("a CA would not find it: %s is to have a CNAME to %s, and leads to %s (create that record once)", r.asked, plain(end), r.name)
	}
	server := a.server
	if account.ServerURL != "" {
		server = account.ServerURL
	}
	if err := checkURL(server); err != nil {
		return err
	}
	in := map[string]string{"subdomain": account.Subdomain, "txt": r.value}
	err = api{client: a.client, base: strings.TrimSuffix(server, "/"), sign: func(req *http.Request, _ []byte) {
		req.Header.Set("X-Api-User", account.Username)
		req.Header.Set("X-Api-Key", account.Password)
	}}.call(ctx, http.MethodPost, "/update", in, nil)
	if hasStatus(err, http.StatusUnauthorized) {
		return errors.New("acme-dns does not know the account, or does not let this node's address use it (allowfrom)")
	}
	return err
}

// remove does nothing: the server forgets a value when two newer ones have come.
func (acmeDNS) remove(context.Context, record) error { return nil }
