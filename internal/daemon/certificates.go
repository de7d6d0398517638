package daemon

import (
	"context"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/dns"
	"github.com/ruche-project/ruche/internal/certs/importer"
	"github.com/ruche-project/ruche/internal/certs/inventory"
	"github.com/ruche-project/ruche/internal/certs/probe"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
)

// ReadCertificates reads what other products keep in files and directories of this host. It needs no node that runs.
func ReadCertificates(paths []string) ([]ruche.ImportedCertificate, []ruche.ImportProblem, error) {
	var list []ruche.ImportedCertificate
	var problems []ruche.ImportProblem
	for _, p := range paths {
		found, err := importer.Read(p, time.Now())
		if err != nil {
			return nil, nil, err
		}
		list, problems = append(list, found.Certificates...), append(problems, found.Problems...)
	}
	return importer.Merge(list), problems, nil
}

// PlanImport tells what would be imported.
func PlanImport(list []ruche.ImportedCertificate) ruche.ImportResult { return importer.Plan(list) }

// CheckCertificate looks at the certificate that a server shows. It needs no node that runs.
func CheckCertificate(ctx context.Context, t ruche.CheckTarget) ruche.CertificateCheck {
	resolver, _ := dns.NewResolver() // only servers that are named can be wrong
	return probe.Check(ctx, t, probe.Config{Resolver: resolver})
}

// SelectCertificates gives those of a list that a selection is about, as a control node will. An ID or name that selects nothing gives an error.
func SelectCertificates(list []ruche.CertificateInfo, s ruche.CertificateSelection) ([]ruche.CertificateInfo, error) {
	return inventory.Select(list, s)
}

// CompareCertificate holds what a server shows against what is stored for its name. ok is false where there is nothing to say.
func CompareCertificate(list ruche.CertificateList, c ruche.CertificateCheck) (f ruche.Finding, ok bool) {
	return inventory.Compare(list, c)
}

// importer keeps certificates that other products had.
func (d *Daemon) importer() importer.Store {
	return importer.Store{
		Certificates: cluster.NewBucket[vault.Record](d.cluster, vault.BucketCertificates),
		Accounts:     cluster.NewBucket[vault.Account](d.cluster, vault.BucketAccounts),
		Seal:         d.seal,
	}
}
