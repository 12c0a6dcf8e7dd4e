// Package crashtest kills, starves and insults an installed server, through its real binary, and counts afterwards: what was
// acknowledged must be there, once. It must not know how the server is made; it sees ports, the admin socket, files and pids.
//
// Its tests need what `make build` builds. `go test ./runtime/crashtest -crash.duration 10m` kills for longer, `-crash.seed N`
// repeats an order of kills.
package crashtest
