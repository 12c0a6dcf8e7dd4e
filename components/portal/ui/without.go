//go:build !ui

package ui

import "io/fs"

var files fs.FS
