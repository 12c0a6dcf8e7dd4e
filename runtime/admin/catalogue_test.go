package admin

import (
	"encoding/json"
	"testing"
)

func TestTheCatalogueIsReadFromItsPage(t *testing.T) {
	got := Catalogue("# Error catalogue\n\n## CFG\n\n| code | meaning |\n| --- | --- |\n| CBN-CFG-001 | a \\| b | Do it. | `runtime/x` |\n| CBN-CFG-002 | too few |\n")
	if len(got) != 1 || got[0] != (CatalogueEntry{"CBN-CFG-001", "a | b", "Do it.", "runtime/x"}) {
		t.Errorf("the entries are %+v", got)
	}
}

func TestTheCatalogueIsServed(t *testing.T) {
	s, _, _ := newServer()
	s.Errors = "| CBN-CFG-001 | a | Do it. | `runtime/x` |\n| CBN-CFG-002 | b | Do that. | `runtime/y` |\n"
	for _, code := range []string{"CBN-CFG-002", "cbn-cfg-002"} {
		status, body := ask(t, s, "GET", "/api/errors/"+code, "")
		var got CatalogueEntry
		if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 || got != (CatalogueEntry{"CBN-CFG-002", "b", "Do that.", "runtime/y"}) {
			t.Errorf("%s: %d %s %v", code, status, body, err)
		}
	}
	status, body := ask(t, s, "GET", "/api/errors", "")
	var all []CatalogueEntry
	if err := json.Unmarshal([]byte(body), &all); err != nil || status != 200 || len(all) != 2 {
		t.Errorf("%d %s %v", status, body, err)
	}
	status, body = ask(t, s, "GET", "/api/errors/CBN-CFG-003", "")
	var f Failure
	if err := json.Unmarshal([]byte(body), &f); err != nil || status != 404 || f.Cause == nil || f.Cause.Code != ErrNoCode.ID() {
		t.Errorf("%d %s %v", status, body, err)
	}
}
