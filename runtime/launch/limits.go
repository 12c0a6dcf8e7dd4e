package launch

// Limits bound one process. The zero value asks for nothing; the supervisor fills in its defaults.
type Limits struct {
	// Files is the number of descriptors it may hold; 0 leaves the inherited limit.
	Files uint64 `json:"files,omitempty"`
	// Data is RLIMIT_DATA in bytes: private writable memory, the heap included; 0 is no limit. (RLIMIT_AS would count reserved
	// address space, which runtimes such as Go's and Java's reserve in gigabytes.)
	Data uint64 `json:"data,omitempty"`
	// Processes is RLIMIT_NPROC, and pids.max of a control group: processes and threads at once; 0 is no limit. The first counts all
	// processes of the user and is set only where the process has a user of its own.
	Processes uint64 `json:"processes,omitempty"`
	// Memory is the budget in bytes for a control group's memory.high, a quarter more its memory.max; 0 is no limit. A process
	// without such a group is bound by Data.
	Memory uint64 `json:"memory,omitempty"`
	// CPU in thousandths of a core, for a control group's cpu.max; 0 is no limit.
	CPU uint64 `json:"cpu,omitempty"`
	// Nice is added to the scheduling niceness, 0 to 19.
	Nice int `json:"nice,omitempty"`
	// OOMScore is the process's oom_score_adj, 0 to 1000: the higher, the earlier it is chosen when memory runs out.
	OOMScore int `json:"oomScore,omitempty"`
}
