// Package launch is the step between fork and a component's program: limits, privileges, descriptors, exec.
// It must not know what it starts, nor anything that would make its own start slow.
package launch
