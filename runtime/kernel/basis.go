package kernel

import (
	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/config"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/plan/inputs"
	"carbonado.dev/carbonado/runtime/profile"
)

// basis is what the plan in force was made from. Nothing in it changes: the next plan has a basis of its own, and whoever needs two things
// that belong together asks for one basis.
type basis struct {
	resolution *profile.Resolution
	config     *config.Config
	catalog    *catalog.Catalog
}

// basis is the one of the last plan; it is there from the first plan on, and may be asked for by any goroutine.
func (k *Kernel) basis() *basis { return k.based.Load() }

func (k *Kernel) baseOn(in *inputs.Inputs) {
	k.based.Store(&basis{resolution: in.Resolution, config: in.Config, catalog: in.Catalog})
}

// putInForce makes a plan the one that the reconciler brings about. But for the first plan, the lock of plans is held.
func (k *Kernel) putInForce(p *plan.Plan) {
	k.history.rules(p)
	k.noteRequired(p)
	k.reconciler.Apply(p)
}
