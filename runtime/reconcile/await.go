package reconcile

import "context"

// Await waits until ok holds for a component, looking after each change of any. There is no unit of a component that is not installed: then
// ok is given a View without a process.
func (r *Reconciler) Await(ctx context.Context, name string, ok func(View) bool) error {
	return r.wait(ctx, func() bool {
		v, _ := r.View(name)
		return ok(v)
	})
}
