// Package server serves the store's contracts: RecordStore, EventLog and ChangeFeed. It must not know how rows are stored.
package server

import (
	"slices"

	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/store"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// checkTenant refuses tenants other than carbon.super; 0, a field left out, is taken for it.
func checkTenant(tenant int32) error {
	if tenant != 0 && tenant != store.Tenant {
		return store.ErrTenant.New("tenant %d", tenant)
	}
	return nil
}

func schemaFrom(in *analyticsv1.Schema) manifest.Schema {
	out := manifest.Schema{Keys: slices.Clone(in.GetPrimaryKeys())}
	for _, c := range in.GetColumns() {
		out.Columns = append(out.Columns, columnFrom(c))
	}
	return out
}

func columnFrom(c *analyticsv1.Column) manifest.Column {
	return manifest.Column{Column: rows.Column{Name: c.GetName(), Type: c.GetType()}, Indexed: c.GetIndexed(), ScoreParam: c.GetScoreParam(), Facet: c.GetFacet()}
}

func schemaTo(in manifest.Schema) *analyticsv1.Schema {
	out := &analyticsv1.Schema{PrimaryKeys: in.Keys}
	for _, c := range in.Columns {
		out.Columns = append(out.Columns, &analyticsv1.Column{Name: c.Name, Type: c.Type, Indexed: c.Indexed, ScoreParam: c.ScoreParam, Facet: c.Facet})
	}
	return out
}

func infoTo(t store.Info) *analyticsv1.TableInfo {
	return &analyticsv1.TableInfo{
		Tenant: t.Tenant, Name: t.Name, Store: t.Store, Schema: schemaTo(t.Schema), SchemaVersion: t.SchemaVersion,
		Rows: t.Rows, Bytes: t.Bytes, LastSeq: t.LastSeq,
	}
}
