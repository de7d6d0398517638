package ruche

import (
	"fmt"
	"log/slog"
	"time"
)

// ImportedCertificate is a certificate with its key, as another product kept it; or, without a chain, that product's account at a CA. It holds secrets.
type ImportedCertificate struct {
	// Names are those in the certificate, in lower case; the first one is that by which the other product called it, if it is among them.
	Names []string `json:"names,omitempty"`
	// Chain is the certificate and what follows it, each in DER, without a root.
	Chain [][]byte `json:"chain,omitempty"`
	// Key is the private key, in PKCS #8, in the clear.
	Key []byte `json:"key,omitempty"`
	// Directory is the URL of the directory of the CA's ACME server; empty when that is unknown. Guessed tells that it was concluded from the issuer's name.
	Directory string `json:"directory,omitempty"`
	Guessed   bool   `json:"guessed,omitempty"`
	// Source is where it was found: "/etc/nginx/certs/shop.example/fullchain.pem".
	Source string `json:"source"`
	// Account is set where there is no chain.
	Account *ImportedAccount `json:"account,omitempty"`
}

// String gives it without its secrets.
func (c ImportedCertificate) String() string { return fmt.Sprintf("%v of %s", c.Names, c.Source) }

// LogValue gives it without its secrets.
func (c ImportedCertificate) LogValue() slog.Value { return slog.StringValue(c.String()) }

// ImportedAccount is an account at a CA, as another product kept it. It holds a secret.
type ImportedAccount struct {
	Directory string `json:"directory"`
	// URL is what the CA calls it (RFC 8555 section 7.3); empty when that is unknown: by the key the CA tells it.
	URL   string `json:"url,omitempty"`
	Email string `json:"email,omitempty"`
	// KeyID is that of the external account that it is bound to, if it is.
	KeyID string `json:"key_id,omitempty"`
	// Key is its private key, in PKCS #8, in the clear.
	Key []byte `json:"key"`
	// Source is where it was found.
	Source string `json:"source"`
}

// String gives it without its secret.
func (a ImportedAccount) String() string {
	return fmt.Sprintf("account %s of %s", a.Email, a.Directory)
}

// LogValue gives it without its secret.
func (a ImportedAccount) LogValue() slog.Value { return slog.StringValue(a.String()) }

// ImportOutcome says what became of what was to be imported.
type ImportOutcome string

// The outcomes.
const (
	ImportReady   ImportOutcome = "ready"    // it can be imported; nothing was written
	ImportDone    ImportOutcome = "imported" // it is kept now
	ImportSame    ImportOutcome = "same"     // it is kept already
	ImportOlder   ImportOutcome = "older"    // what is kept for these names ends later, or was there first
	ImportRefused ImportOutcome = "refused"  // it cannot be used
)

// ImportResult answers "what was imported?".
type ImportResult struct {
	Certificates []ImportedItem `json:"certificates"`
	Accounts     []ImportedItem `json:"accounts"`
	// Problems are what was found wrong in what was read.
	Problems []ImportProblem `json:"problems"`
}

// ImportedItem is a certificate or an account, and what became of it.
type ImportedItem struct {
	// Names are those of a certificate, or the e-mail address of an account, if it has one.
	Names []string `json:"names"`
	// NotAfter is when a certificate ends; zero for an account.
	NotAfter  time.Time     `json:"not_after,omitzero"`
	Directory string        `json:"directory,omitempty"`
	Guessed   bool          `json:"guessed,omitempty"`
	Source    string        `json:"source"`
	Outcome   ImportOutcome `json:"outcome"`
	// ID is the key under which it is kept.
	ID string `json:"id,omitempty"`
	// Reason says why it is not imported.
	Reason string `json:"reason,omitempty"`
}

// ImportProblem is something wrong in what was read. Nothing of it keeps the rest from being imported.
type ImportProblem struct {
	// Place is a file, or a part of one.
	Place   string `json:"place"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Skipped tells that what is at that place is not imported.
	Skipped bool `json:"skipped,omitempty"`
}
