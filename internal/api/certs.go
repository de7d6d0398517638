package api

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/ruche-project/ruche"
)

// Importer keeps certificates and accounts that other products had.
type Importer interface {
	// Import keeps what can be used, and says of each what became of it.
	Import(ctx context.Context, list []ruche.ImportedCertificate) (ruche.ImportResult, error)
}

const (
	// importBatch is how many certificates a client sends at once: each is a write to the disks of a majority.
	importBatch = 200
	// maxImport bounds such a batch; a certificate with key and chain has some 10 kB.
	maxImport = 32 << 20
	// importTime is how long a batch may take.
	importTime = 2 * time.Minute
)

func (s *Server) importCertificates(w http.ResponseWriter, r *http.Request) {
	var list []ruche.ImportedCertificate
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxImport)).Decode(&list); err != nil {
		writeJSON(w, http.StatusBadRequest, problem{"the request cannot be read", ""}) // it holds secrets: what is wrong in it is not repeated
		return
	}
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(importTime)); err != nil {
		s.cfg.Logger.Warn("the answer to an import may be cut off", "error", err)
	}
	result, err := s.cfg.Importer.Import(r.Context(), list)
	if err != nil {
		writeJSON(w, http.StatusServiceUnavailable, problem{"the import stopped on its way: " + err.Error(), "import again when the state answers (ruche state status): what is kept already stays"})
		return
	}
	s.cfg.Logger.Info("imported certificates", "given", len(result.Certificates), "kept", countDone(result.Certificates), "accounts", countDone(result.Accounts))
	writeJSON(w, http.StatusOK, result)
}

func countDone(items []ruche.ImportedItem) int {
	n := 0
	for _, i := range items {
		if i.Outcome == ruche.ImportDone {
			n++
		}
	}
	return n
}

// Import has certificates and accounts kept. When it fails, those before stay kept.
func (c *Client) Import(ctx context.Context, list []ruche.ImportedCertificate) (ruche.ImportResult, error) {
	all := ruche.ImportResult{Certificates: []ruche.ImportedItem{}, Accounts: []ruche.ImportedItem{}, Problems: []ruche.ImportProblem{}}
	patient := &Client{addr: c.addr, http: &http.Client{Timeout: importTime, Transport: c.http.Transport}}
	for batch := range slices.Chunk(list, importBatch) {
		var result ruche.ImportResult
		if err := patient.ask(ctx, http.MethodPost, "/api/v1/certificates/import", batch, &result); err != nil {
			return all, err
		}
		all.Certificates = append(all.Certificates, result.Certificates...)
		all.Accounts = append(all.Accounts, result.Accounts...)
	}
	return all, nil
}
