package kernel

import (
	"context"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/config"
)

// Explain implements admin.Seeing: what is in force, not what the files say now.
func (k *Kernel) Explain(_ context.Context, key string) ([]admin.Setting, error) {
	components := map[string]*config.Component{}
	for _, v := range k.reconciler.Views() {
		if v.Planned != nil && v.Planned.Config != nil {
			components[v.Name] = v.Planned.Config
		}
	}
	found, err := config.Explain(k.basis().config, components, key)
	if err != nil {
		return nil, err
	}
	return admin.Settings(found), nil
}
