// Command HTTPReceiver is the component HTTPReceiver as a process of its own.
package main

import (
	"carbonado.dev/carbonado/components/httpreceiver"
	"carbonado.dev/sdk/component"
)

func main() { component.Main(httpreceiver.Start, httpreceiver.Options...) }
