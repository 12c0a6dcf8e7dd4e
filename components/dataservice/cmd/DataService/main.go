// Command DataService is the component DataService as a process of its own.
package main

import (
	"carbonado.dev/carbonado/components/dataservice"
	"carbonado.dev/sdk/component"
)

func main() { component.Main(dataservice.Start, dataservice.Options...) }
