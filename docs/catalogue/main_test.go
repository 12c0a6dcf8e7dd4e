package main

import (
	"bytes"
	"os"
	"testing"
)

func TestCatalogueIsTrue(t *testing.T) {
	entries, err := collect("../..")
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := write(&want, entries); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../errors.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/errors.md is out of date: go run ./docs/catalogue > docs/errors.md")
	}
}
