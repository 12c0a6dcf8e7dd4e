// Command Indexing is the component Indexing as a process of its own.
package main

import (
	"carbonado.dev/carbonado/components/indexing"
	"carbonado.dev/sdk/component"
)

func main() { component.Main(indexing.Start, indexing.Options...) }
