// Command all is every first-party component in one executable without cgo; argv[0] chooses. Packages hard-link it, so that it is on
// disk and in memory once. It must not know what the components do.
package main

import (
	"carbonado.dev/carbonado/components/analyticsengine"
	"carbonado.dev/carbonado/components/analyticsexecution"
	"carbonado.dev/carbonado/components/dataservice"
	"carbonado.dev/carbonado/components/eventreceiver"
	"carbonado.dev/carbonado/components/eventsink"
	"carbonado.dev/carbonado/components/httpreceiver"
	"carbonado.dev/carbonado/components/identity"
	"carbonado.dev/carbonado/components/indexing"
	"carbonado.dev/carbonado/components/portal"
	"carbonado.dev/sdk/component"
)

func main() {
	component.MainOf(map[string]component.Spec{
		"AnalyticsEngine":    {Start: analyticsengine.Start, Options: analyticsengine.Options},
		"AnalyticsExecution": {Start: analyticsexecution.Start, Options: analyticsexecution.Options},
		"DataService":        {Start: dataservice.Start, Options: dataservice.Options},
		"EventReceiver":      {Start: eventreceiver.Start, Options: eventreceiver.Options},
		"EventSink":          {Start: eventsink.Start, Options: eventsink.Options},
		"HTTPReceiver":       {Start: httpreceiver.Start, Options: httpreceiver.Options},
		"Identity":           {Start: identity.Start, Options: identity.Options},
		"Indexing":           {Start: indexing.Start, Options: indexing.Options},
		"Portal":             {Start: portal.Start, Options: portal.Options},
	})
}
