package plan

import (
	"bytes"
	"errors"
	"strings"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan/contract"
	"carbonado.dev/sdk/cause"
)

// ErrBreaks is the kind of a provider whose contract is not what a consumer was built with.
var ErrBreaks = cause.Define("CBN-PLAN-020", "A provider's contract breaks a consumer.",
	"Build the consumer with the provider's contract, or give the provider the method or field back.")

// broken says what of a consumer's contract an offer does not keep; nil if it keeps all, or if one side carries no contract.
func (b *builder) broken(who *node, r *component.Require, o *offer) error {
	pack := b.nodes[o.node].pack
	if pack == nil || who.pack == nil {
		return nil
	}
	have, want := pack.Contracts[o.provide.Contract], builtWith(who, r)
	if have == nil || want == nil || bytes.Equal(have, want) {
		return nil
	}
	provider, err := contract.Service(have, r.Service)
	consumer, err2 := contract.Service(want, r.Service)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	if provider == nil || consumer == nil {
		return nil
	}
	var all []string
	for _, b := range contract.Breaks(provider, consumer) {
		all = append(all, b.String())
	}
	if len(all) == 0 {
		return nil
	}
	return ErrBreaks.New("%s", strings.Join(all, "; "))
}

// builtWith is the contract that a component was built with for a reference; nil if it is not known.
func builtWith(who *node, r *component.Require) []byte {
	if r.Contract != "" {
		return who.pack.Contracts[r.Contract]
	}
	for i := range who.desc.Provides {
		if p := &who.desc.Provides[i]; p.Service == r.Service {
			return who.pack.Contracts[p.Contract]
		}
	}
	return nil
}
