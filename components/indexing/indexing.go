// Package indexing is the component Indexing: it follows the store's changes, keeps an index of each table that has indexed
// columns, and answers searches over gRPC, HTTP and the command line. It must not know how the store keeps records.
package indexing

import (
	"time"

	"carbonado.dev/carbonado/components/indexing/disk"
	"carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// Options are the component's verbs.
var Options = []component.Option{component.CLI("search", "Search a table with a Lucene query.", searchVerb)}

// Start makes the component.
func Start(c *component.C) error { return startOn(c, disk.OS{}) }

// startOn makes the component on a file system, which tests let fail.
func startOn(c *component.C, fs disk.FS) error {
	var cfg config
	if err := c.Config(&cfg); err != nil {
		return err
	}
	records := analyticsv1.NewRecordStoreClient(c.Ref("records"))
	e := newEngine(cfg, c.DataFolder(), c.Log(), records, analyticsv1.NewChangeFeedClient(c.Ref("feed")), func(err error) {
		if err == nil {
			c.SetHealth(component.OK, nil)
			return
		}
		c.SetHealth(component.Warn, err)
	})
	e.fs = fs
	c.Manage(e)
	s := &service{e: e, limit: time.Duration(cfg.SearchSeconds) * time.Second}
	analyticsv1.RegisterIndexServer(c, s)
	component.ServeHTTP(c, "/index", routes(s, records))
	return nil
}
