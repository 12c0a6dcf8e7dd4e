// Package supervisor turns one component's package into one supervised process: it verifies and starts the executable through
// the guardian, shakes hands, carries its output into the kernel's log, says why it ended, and ends it.
// It must not know the unit's state machine, wiring or configuration: when to start, restart or stop is the reconciler's
// business. go-plugin is seen only here.
//
// One Supervisor serves the whole kernel; each Start makes one Instance, which is one process. An Instance is never
// restarted: a restart is a new Start with the next generation, when the unit's Restarts (a pure value) allows it.
//
//	sup, err := supervisor.New(supervisor.Config{Guardian: client, RunFolder: home + "/repository/run", Log: log})
//	defer sup.Close(ctx)                       // kills what still runs
//
//	inst, err := sup.Start(ctx, supervisor.Spec{
//		Name: "DataService", Version: "1.0.0", Generation: 7,
//		Executable: home + "/plugins/DataService/1.0.0/bin/DataService", Digest: recorded,
//		PackageFolder: home + "/plugins/DataService/1.0.0", DataFolder: home + "/repository/data/DataService",
//		Listeners: []supervisor.Listener{{Name: "thrift", Key: "DataService/thrift"}}, MemoryLimit: 128 << 20,
//	})
//	if err != nil {                            // a *cause.Error; nothing of the attempt is left
//		exit, ok := supervisor.ExitOf(err)     // how the process ended, if there was one
//	}
//	_, err = inst.Component().Configure(ctx, &controlv1.ConfigureRequest{
//		RunFolder: inst.RunFolder(), Listeners: inst.Listeners(), KernelPid: …, …})
//	select {
//	case <-inst.Done():                        // it ended by itself
//		exit := inst.Exit()
//		d := restarts.Crashed(exit.At, exit.Ran, rand.Float64())   // d.After, or d.Spent: FAILED
//	case <-stop:
//		exit := inst.Stop(ctx, supervisor.DefaultLadder(component.ResultOperator))
//	}
//
// Start covers the process, the handshake and the connection. Deadlines of the calls after it (Configure, Prepare, Acquire) are
// the caller's; when one passes, the caller ends the instance with inst.Kill(ctx, component.ResultStartTimeout). Every start and end is also
// an Event on sup.Events(), in order, for those who watch all.
package supervisor
