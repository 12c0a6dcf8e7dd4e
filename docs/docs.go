// Package docs carries pages that the program itself shows. It must not know who shows them.
package docs

import _ "embed"

// Errors is the error catalogue, docs/errors.md.
//
//go:embed errors.md
var Errors string
