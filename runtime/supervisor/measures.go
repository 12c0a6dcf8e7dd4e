package supervisor

import (
	"fmt"
	"slices"

	"carbonado.dev/carbonado/runtime/component"
)

// Limits tells what bounds the instance's use of the machine, and by which mechanism.
func (i *Instance) Limits() []component.Measure {
	l, p := i.spec.Limits, i.process.p
	const noGroup = "no cgroup v2 controller was delegated to the server"
	why := func(controller string) string {
		if slices.Contains(p.Controllers, controller) {
			return ""
		}
		return noGroup
	}
	memory := component.Measure{
		What: "memory " + size(l.Memory), Enforced: true,
		By: fmt.Sprintf("GOMEMLIMIT %s, RLIMIT_DATA %s", size(l.Memory/5*4), size(l.Data)), Why: why("memory"),
	}
	if memory.Why == "" {
		memory.By = fmt.Sprintf("cgroup memory.high %s, memory.max %s; %s", size(l.Memory), size(l.Memory+l.Memory/4), memory.By)
	}
	out := []component.Measure{memory, {What: fmt.Sprintf("files %d", l.Files), Enforced: true, By: "RLIMIT_NOFILE"}}
	processes := component.Measure{What: fmt.Sprintf("processes %d", l.Processes), Why: why("pids")}
	switch {
	case processes.Why == "":
		processes.Enforced, processes.By = true, "cgroup pids.max"
	case i.ownUser():
		processes.Enforced, processes.By = true, "RLIMIT_NPROC of its own user"
	}
	out = append(out, processes)
	if l.CPU > 0 {
		cpu := component.Measure{What: fmt.Sprintf("cpu %.2g", float64(l.CPU)/1000), Why: why("cpu")}
		if cpu.Why == "" {
			cpu.Enforced, cpu.By = true, "cgroup cpu.max"
		} else if l.Nice > 0 {
			cpu.By = fmt.Sprintf("niceness %d only", l.Nice)
		}
		out = append(out, cpu)
	}
	end := component.Measure{What: "no process stays", Enforced: true, By: "process group, subreaper, parent-death signal, lifeline"}
	if p.Grouped {
		end.By = "cgroup.kill, " + end.By
	}
	if i.spec.Watchdog > 0 {
		out = append(out, component.Measure{What: "sign of life within " + i.spec.Watchdog.String(), Enforced: true, By: "watchdog"})
	}
	return append(out, end)
}

// ownUser tells whether the process runs as a user that no other component has.
func (i *Instance) ownUser() bool { return i.spec.Cage.UID != 0 }

// size prints bytes as a person writes them.
func size(n uint64) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
