// Package guardian is the process that stays when the kernel doesn't: parent of the kernel and of every component.
// It must not know go-plugin, gRPC or components: it forks, holds what must outlive a process, reaps, and ends what remains.
//
// `carbonado server` calls Run, which forks the kernel (the same program with other arguments) and returns its exit code when
// nothing of it is left. The kernel calls Connect and asks over the Client for listeners and processes, and says when it is Ready and Stopping.
//
//	       guardian            subreaper, one thread forks, so that parent-death signals mean the guardian's death
//	      /    |    \
//	kernel     |     component …      each in a process group (and, where it is to be had, a cgroup) of its own
//	   \       |
//	    socketpair                    requests, replies, exits; descriptors travel with them
//
// Who dies, and what happens:
//   - A component: its group is killed, so that its children go with it; the kernel is told.
//   - A process that left its component's group and lost its parent becomes the guardian's child, and is killed.
//   - The kernel: where Config.Restarts allows it, another follows, which Inherits and Adopts the components (succession.go); they run on
//     meanwhile. Otherwise, and when a kernel stops in order or can't start, all others get SIGTERM, two seconds later SIGKILL, and the
//     guardian exits with the kernel's code.
//   - The guardian: kernel and components get SIGKILL by the system, and their lifelines end; what they had started becomes the
//     watch's child, and is killed.
//   - The watch: the guardian kills the kernel, and goes on as above.
package guardian
