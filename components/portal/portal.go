// Package portal is the component Portal: it serves the REST API, the dashboards and the web page. It must not know how records
// are kept, how people sign in, or how the runtime works; the page asks the admin API for that.
package portal

import (
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"

	"carbonado.dev/carbonado/components/portal/dashboard"
	"carbonado.dev/carbonado/components/portal/rest"
	"carbonado.dev/carbonado/components/portal/ui"
	"carbonado.dev/carbonado/components/portal/web"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// Options are the component's CLI verbs: none.
var Options []component.Option

// dashboards is where definitions are served, as in DAS.
const dashboards = "/portal/apis/dashboards"

// errNotServed is what a program gets for a path that no component of this node serves: Portal has "/", and so all that is left over.
var errNotServed = cause.Define("CBN-PRT-014", "No component of this node serves the path.",
	"`carbonado plan` says which components run here and why the others do not.").Code(codes.NotFound)

// Start makes the component.
func Start(c *component.C) error {
	records, index := c.Ref("records"), c.Ref("index")
	api := &rest.Service{
		Records:    analyticsv1.NewRecordStoreClient(records),
		HasRecords: func() bool { return records.Provider() != "" },
		Index:      analyticsv1.NewIndexClient(index),
		HasIndex:   func() bool { return index.Provider() != "" },
		Log:        c.Log(),
	}
	page, err := web.Handler(ui.Files())
	if err != nil {
		return err
	}
	set := dashboard.NewSet()
	c.Deploys("dashboard", set)

	root := http.NewServeMux()
	definitions := set.Handler(dashboards, rest.Fail)
	root.Handle(dashboards, definitions)
	root.Handle(dashboards+"/", definitions)
	root.Handle("/", pagesOnly(page))
	component.ServeHTTP(c, "/", root, component.HTTPAuth("page"))
	component.ServeHTTP(c, rest.Prefix, api.Handler())
	component.ServeHTTP(c, "/login", page, component.HTTPAuth("none"))
	component.ServeHTTP(c, "/assets", page, component.HTTPAuth("none"))
	return nil
}

// pagesOnly leaves the page to browsers; programs get an answer they can read.
func pagesOnly(page http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		accept := r.Header.Get("Accept")
		program := strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
		if program || (r.Method != http.MethodGet && r.Method != http.MethodHead) {
			rest.Fail(w, errNotServed.New("no component of this node serves %s", r.URL.Path))
			return
		}
		page.ServeHTTP(w, r)
	})
}
