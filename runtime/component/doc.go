// Package component is the runtime's vocabulary: what a component is, which states it passes, how it fares, why its last
// run ended, and what a cause is. It must not know how any of these come about: no files, no processes, no plan.
package component
