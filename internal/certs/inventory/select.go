package inventory

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// Select gives the certificates of a list that a selection is about. An ID or name that selects nothing gives an error.
func Select(list []ruche.CertificateInfo, s ruche.CertificateSelection) ([]ruche.CertificateInfo, error) {
	if !s.All && len(s.IDs) == 0 && s.Issuer == "" && s.Serial == "" && s.Fingerprint == "" && s.Key == "" {
		return nil, fmt.Errorf("nothing is selected (name certificates, or give --issuer, --serial or --all)")
	}
	for _, id := range s.IDs {
		if !slices.ContainsFunc(list, func(c ruche.CertificateInfo) bool { return named(c, id) }) {
			return nil, fmt.Errorf("no certificate has the ID or name %q (\"ruche certs list\" lists them): %w", id, ruche.ErrNotFound)
		}
	}
	var chosen []ruche.CertificateInfo
	for _, c := range list {
		if c.Kind != ruche.CertificateFile && fits(c, s) {
			chosen = append(chosen, c)
		}
	}
	return chosen, nil
}

func named(c ruche.CertificateInfo, id string) bool {
	return c.ID == id || slices.Contains(c.Names, strings.ToLower(id))
}

func fits(c ruche.CertificateInfo, s ruche.CertificateSelection) bool {
	digits := func(given string) string {
		return strings.TrimLeft(strings.ToLower(strings.ReplaceAll(given, ":", "")), "0")
	}
	switch {
	case len(s.IDs) > 0 && !slices.ContainsFunc(s.IDs, func(id string) bool { return named(c, id) }):
		return false
	case s.Issuer != "" && c.Issuer != s.Issuer && !strings.Contains(strings.ToLower(c.CA), strings.ToLower(s.Issuer)):
		return false
	case s.Serial != "" && strings.TrimLeft(c.Serial, "0") != digits(s.Serial):
		return false
	case s.Key != "" && strings.TrimLeft(c.Key, "0") != digits(s.Key):
		return false
	case s.Fingerprint != "" && strings.TrimLeft(c.Fingerprint, "0") != digits(s.Fingerprint):
		return false
	}
	return len(s.IDs) > 0 || c.Retired.IsZero()
}

// Refusal is a certificate that a selection is about and that is not renewed.
type Refusal struct {
	ruche.CertificateInfo
	// Why is the reason, with what to do.
	Why string
}

// Renewable tells of chosen certificates which ones can be renewed, and which ones cannot and whoever has chosen them has to hear of it. Who chose by a name meant whatever is renewed for it; who
// chose many, those that are looked after: of neither the others are told, unless nothing would be left.
func Renewable(in Input, chosen []ruche.CertificateInfo, s ruche.CertificateSelection) (can []ruche.CertificateInfo, cannot []Refusal) {
	var unmeant []Refusal
	for _, info := range chosen {
		w, wanted := in.Wants[info.ID]
		switch why := w.problem(); {
		case wanted && why == "":
			can = append(can, info)
		case !wanted:
			unmeant = append(unmeant, Refusal{info, unwanted(in, info)})
		case w.Optional && len(s.IDs) == 0:
			unmeant = append(unmeant, Refusal{info, why})
		default:
			cannot = append(cannot, Refusal{info, why})
		}
	}
	all := len(can)+len(cannot) == 0
	for _, r := range unmeant {
		if all || slices.Contains(s.IDs, r.ID) || len(s.IDs) > 0 && !renewedInstead(can, cannot, s, r.CertificateInfo) {
			cannot = append(cannot, r)
		}
	}
	return can, cannot
}

// renewedInstead reports whether the names by which a certificate was chosen are told of with another one.
func renewedInstead(can []ruche.CertificateInfo, cannot []Refusal, s ruche.CertificateSelection, info ruche.CertificateInfo) bool {
	for _, id := range s.IDs {
		has := func(c ruche.CertificateInfo) bool { return named(c, id) }
		if named(info, id) && !slices.ContainsFunc(can, has) && !slices.ContainsFunc(cannot, func(r Refusal) bool { return has(r.CertificateInfo) }) {
			return false
		}
	}
	return true
}

// unwanted says why a certificate that nobody wants is not renewed.
func unwanted(in Input, info ruche.CertificateInfo) string {
	for _, id := range slices.Sorted(maps.Keys(in.Wants)) {
		if w := in.Wants[id]; vault.CoversAll(info.Names, w.Names) {
			return "nobody orders it itself, another one takes its place (ruche certs renew " + id + " orders that)"
		}
	}
	if info.Kind == ruche.CertificateImported {
		return "it was imported, and nobody orders it here (ask for a certificate with its names, or import a newer one)"
	}
	return "nobody wants it any more (publish its names again, or ask for a certificate with them)"
}
