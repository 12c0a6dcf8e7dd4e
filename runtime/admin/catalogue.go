package admin

import (
	"context"
	"strings"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
)

// ErrNoCode is the kind of a code that the catalogue does not have.
var ErrNoCode = cause.Define("CBN-API-024", "The error catalogue has no such code.", "Codes of third parties' components stand in their own documentation.").Code(codes.NotFound)

// CatalogueEntry is one line of the error catalogue.
type CatalogueEntry struct {
	Code    string `json:"code"`
	Meaning string `json:"meaning"`
	Fix     string `json:"fix"`
	// RaisedIn is the folder of the source.
	RaisedIn string `json:"raisedIn"`
}

// Catalogue reads the tables of docs/errors.md; lines that are not entries are passed over.
func Catalogue(page string) []CatalogueEntry {
	out := []CatalogueEntry{}
	for l := range strings.Lines(page) {
		if !strings.HasPrefix(l, "| CBN-") {
			continue
		}
		l = strings.ReplaceAll(strings.TrimSpace(l), `\|`, "\x00")
		cells := strings.Split(strings.Trim(l, "|"), "|")
		if len(cells) != 4 {
			continue
		}
		for i := range cells {
			cells[i] = strings.ReplaceAll(strings.TrimSpace(cells[i]), "\x00", "|")
		}
		out = append(out, CatalogueEntry{cells[0], cells[1], cells[2], strings.Trim(cells[3], "`")})
	}
	return out
}

// registerCatalogue adds the calls that read the error catalogue.
func (s *Server) registerCatalogue() {
	type codeInput struct {
		Code string `path:"code" doc:"A code of the catalogue, for example CBN-PLAN-002"`
	}
	get(s, "errors", "/api/errors", "The error catalogue", func(_ context.Context, _ *none) ([]CatalogueEntry, error) { return Catalogue(s.Errors), nil })
	get(s, "error", "/api/errors/{code}", "What a code means, and what to do", func(_ context.Context, in *codeInput) (CatalogueEntry, error) {
		for _, e := range Catalogue(s.Errors) {
			if strings.EqualFold(e.Code, in.Code) {
				return e, nil
			}
		}
		return CatalogueEntry{}, ErrNoCode.New("code %s", in.Code)
	})
}
