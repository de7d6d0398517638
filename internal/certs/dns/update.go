package dns

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	wire "github.com/miekg/dns"
)

// tsigFudge is how far the clocks of both sides may differ, in seconds (RFC 8945 section 10 recommends it).
const tsigFudge = 300

// updateTimeout bounds each step of an update: connecting, sending, receiving.
const updateTimeout = 10 * time.Second

const defaultAlgorithm = wire.HmacSHA256

// updater changes zones by dynamic updates (RFC 2136), signed by TSIG (RFC 8945).
type updater struct {
	server string
	dialer *net.Dialer // nil: the usual one
	zone   string      // overrides the record's; may be empty
	key    tsigKey
}

type tsigKey struct {
	name      string // empty: updates are not signed
	algorithm string // as in the protocol, with the last dot
	secret    string // in base64
}

func algorithms() []string {
	return []string{wire.HmacSHA256, wire.HmacSHA512, wire.HmacSHA384, wire.HmacSHA224, wire.HmacSHA1}
}

// algorithmOf gives the protocol's name of an algorithm.
func algorithmOf(name string) (string, error) {
	if name == "" {
		return defaultAlgorithm, nil
	}
	full := wire.Fqdn(strings.ToLower(name))
	if slices.Contains(algorithms(), full) {
		return full, nil
	}
	return "", fmt.Errorf("there is no TSIG algorithm %q (one of %s)", name, strings.ReplaceAll(strings.Join(algorithms(), " "), ".", ""))
}

func (k tsigKey) check() error {
	if raw, err := base64.StdEncoding.DecodeString(k.secret); err != nil || len(raw) == 0 {
		return errors.New("the TSIG key is not base64 (it is what stands in quotes after \"secret\" in BIND's file)")
	}
	return nil
}

func checkUpdate(v values) error {
	if _, err := updateServer(v); err != nil {
		return err
	}
	if _, err := algorithmOf(v.get("key_algorithm")); err != nil {
		return err
	}
	hasKey, hasName, hasFile := v.get("key") != "", v.get("key_name") != "", v.get("key_file") != ""
	switch {
	case hasFile && (hasKey || hasName):
		return errors.New("key_file and key_name or key exclude each other: the file has them all")
	case hasKey != hasName:
		return errors.New("key_name and key belong together")
	case hasKey && !strings.HasPrefix(v.get("key"), fromFile):
		return tsigKey{secret: v.get("key")}.check()
	}
	return nil
}

func updateServer(v values) (string, error) {
	port := v.get("port")
	if port == "" {
		port = "53"
	}
	server, err := withPort(v.get("server"), port)
	if err != nil {
		return "", fmt.Errorf("server %q cannot be used: %w", v.get("server"), err)
	}
	return server, nil
}

func openUpdate(n network, v values) (writer, error) {
	server, err := updateServer(v)
	if err != nil {
		return nil, err
	}
	u := updater{server: server, dialer: n.dialer, zone: plain(v.get("zone"))}
	if path := v.get("key_file"); path != "" {
		data, err := readFile(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read the TSIG key: %w", err)
		}
		if u.key, err = parseKeyFile(string(data)); err != nil {
			return nil, fmt.Errorf("cannot read the TSIG key in %s: %w", path, err)
		}
		return u, nil
	}
	if u.key.name = plain(v.get("key_name")); u.key.name == "" {
		return u, nil
	}
	if u.key.algorithm, err = algorithmOf(v.get("key_algorithm")); err != nil {
		return nil, err
	}
	u.key.secret = v.get("key")
	return u, u.key.check()
}

func (u updater) add(ctx context.Context, r record) error {
	return u.send(ctx, r, (*wire.Msg).Insert)
}

func (u updater) remove(ctx context.Context, r record) error {
	return u.send(ctx, r, (*wire.Msg).Remove)
}

func (u updater) send(ctx context.Context, r record, change func(*wire.Msg, []wire.RR)) error {
	zone := r.zone
	if u.zone != "" {
		zone = u.zone
	}
	if !within(r.name, zone) {
		return fmt.Errorf("%s is not in the zone %s of the settings", r.name, zone)
	}
	message := new(wire.Msg)
	message.SetUpdate(wire.Fqdn(zone))
	change(message, []wire.RR{&wire.TXT{
		Hdr: wire.RR_Header{Name: wire.Fqdn(r.name), Rrtype: wire.TypeTXT, Class: wire.ClassINET, Ttl: uint32(recordTTL / time.Second)},
		Txt: []string{r.value},
	}})
	client := &wire.Client{Net: "tcp", Timeout: updateTimeout, Dialer: u.dialer}
	if u.key.name != "" {
		client.TsigSecret = map[string]string{wire.Fqdn(u.key.name): u.key.secret}
		message.SetTsig(wire.Fqdn(u.key.name), u.key.algorithm, tsigFudge, time.Now().Unix())
	}
	answer, _, err := client.ExchangeContext(ctx, message, u.server)
	if answer != nil { // what it says tells more than that its signature is missing
		if why := u.refusal(answer, r.name, zone); why != nil {
			return why
		}
	}
	var network *net.OpError
	if errors.As(err, &network) && !isRefused(err) {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	return err
}

// refusal says why the server did not do what it was told, and nil when it did.
func (u updater) refusal(answer *wire.Msg, name, zone string) error {
	if t := answer.IsTsig(); t != nil && t.Error != wire.RcodeSuccess {
		switch t.Error {
		case wire.RcodeBadKey:
			return fmt.Errorf("%s does not know the TSIG key %q with %s (compare name and algorithm with its configuration)", u.server, u.key.name, plain(u.key.algorithm))
		case wire.RcodeBadSig:
			return fmt.Errorf("%s refuses the signature by the TSIG key %q (the secret differs from that in its configuration)", u.server, u.key.name)
		case wire.RcodeBadTime:
			return fmt.Errorf("%s refuses the time of the signature (its clock and that of this node differ by more than %d s)", u.server, tsigFudge)
		}
		return fmt.Errorf("%s refuses the TSIG key %q: error %d", u.server, u.key.name, t.Error)
	}
	signer := "an unsigned update"
	if u.key.name != "" {
		signer = fmt.Sprintf("the TSIG key %q", u.key.name)
	}
	switch answer.Rcode {
	case wire.RcodeSuccess:
		return nil
	case wire.RcodeRefused:
		return fmt.Errorf("%s does not let %s write TXT at %s (grant it in the update-policy of the zone %s)", u.server, signer, name, zone)
	case wire.RcodeNotAuth, wire.RcodeNotZone:
		return fmt.Errorf("%s does not serve the zone %s as its primary (name the primary as server, or the zone that it has as zone)", u.server, zone)
	}
	return fmt.Errorf("%s answers the update of the zone %s with %s (its log says why)", u.server, zone, wire.RcodeToString[answer.Rcode])
}
