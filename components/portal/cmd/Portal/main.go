// Command Portal is the component Portal as a process of its own.
package main

import (
	"carbonado.dev/carbonado/components/portal"
	"carbonado.dev/sdk/component"
)

func main() { component.Main(portal.Start, portal.Options...) }
