package deploy

import "testing"

// TestCase62OwnersThatRunOnAreNotGivenAgain: a kernel that follows another hands over what has changed, and nothing else, unless the owner is
// another process by now.
func TestCase62OwnersThatRunOnAreNotGivenAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.owner.offers["streams/same.json"] = "stream:same"
		w.start()
		w.replace("streams/changed.json", v1)
		w.replace("streams/gone.json", v1)
		w.replace("streams/same.json", v1)
		w.replace("streams/waits.json", content("wait stream:nobody"))
		w.pass(settleTime)
		w.stop()
		w.calls()

		w.resume = true
		w.remove("streams/gone.json")
		w.replace("streams/changed.json", v2)
		w.setOwner(0) // it is not taken over yet when the deployer looks first
		w.start()
		w.pass(settleTime)
		w.wantCalls()
		w.setOwner(1)
		w.pass(settleTime)
		w.wantCalls("undeploy streams/gone.json", "update streams/changed.json")
		w.wantState("streams/same.json", Deployed)
		w.wantRunning(map[string]string{"changed.json": v2, "same.json": v1})

		w.stop()
		w.owner.restart()
		w.start()
		w.setOwner(2)
		w.pass(settleTime)
		w.wantCalls("deploy streams/changed.json", "deploy streams/same.json")
	})
}
