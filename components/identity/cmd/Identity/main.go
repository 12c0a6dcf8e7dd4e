// Command Identity is the component Identity as a process of its own.
package main

import (
	"carbonado.dev/carbonado/components/identity"
	"carbonado.dev/sdk/component"
)

func main() { component.Main(identity.Start, identity.Options...) }
