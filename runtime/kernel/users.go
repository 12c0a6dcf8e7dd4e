package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"carbonado.dev/carbonado/runtime/durable"
	"carbonado.dev/sdk/cause"
)

var errUsers = cause.Define("CBN-SUP-130", "A component can't be given a user of its own.",
	"See repository/data/kernel/users.json, or switch <Privileges><OwnUser> off in carbon.xml.")

// usersFile remembers which number belongs to which component, for ever: its files are that user's.
const usersFile = "users.json"

// usersMost is how many numbers are looked at from the first on.
const usersMost = 1000

// users gives each component a number as user and group. Safe for concurrent use.
type users struct {
	root  *os.Root // repository/data/kernel
	first int
	// damaged is the name under which a damaged file was set aside; empty if none was.
	damaged string

	mu  sync.Mutex // guards ids
	ids map[string]int
}

func openUsers(folder string, first int) (*users, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, errUsers.Wrap(err, "%s", folder)
	}
	u := &users{root: root, first: first, ids: map[string]int{}}
	b, err := root.ReadFile(usersFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, errUsers.Wrap(err, "%s", usersFile)
	default:
		if err := json.Unmarshal(b, &u.ids); err != nil {
			if err := u.rebuild(folder); err != nil {
				return nil, errUsers.Wrap(err, "%s", usersFile)
			}
		}
	}
	return u, nil
}

// rebuild sets a damaged file aside and learns the numbers from whom the components' folders belong to.
func (u *users) rebuild(folder string) error {
	u.ids = map[string]int{}
	kept, err := durable.SetAside(u.root, usersFile, time.Now())
	if err != nil {
		return err
	}
	u.damaged = kept
	data := filepath.Dir(folder)
	entries, err := os.ReadDir(data)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) >= u.first && int(st.Uid) < u.first+usersMost {
			u.ids[e.Name()] = int(st.Uid)
		}
	}
	b, err := json.MarshalIndent(u.ids, "", "  ")
	if err != nil {
		return err
	}
	return durable.Write(u.root, usersFile, append(b, '\n'), 0o600)
}

// of is the number of a component. A new one gets the first from u.first on that is neither another's nor an account of the system.
func (u *users) of(name string) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if id, ok := u.ids[name]; ok {
		return id, nil
	}
	taken := map[int]bool{}
	for _, id := range u.ids {
		taken[id] = true
	}
	for id := u.first; id < u.first+usersMost; id++ {
		if taken[id] || known(id) {
			continue
		}
		u.ids[name] = id
		b, err := json.MarshalIndent(u.ids, "", "  ")
		if err == nil {
			err = durable.Write(u.root, usersFile, append(b, '\n'), 0o600)
		}
		if err != nil {
			delete(u.ids, name)
			return 0, errUsers.Wrap(err, "%s", name)
		}
		return id, nil
	}
	return 0, errUsers.New("%s: all numbers from %d to %d are taken", name, u.first, u.first+usersMost-1)
}

// known tells whether a number is an account or a group of the system.
func known(id int) bool {
	if _, err := user.LookupId(strconv.Itoa(id)); err == nil {
		return true
	}
	_, err := user.LookupGroupId(strconv.Itoa(id))
	return err == nil
}

// mapped tells whether this user namespace has n numbers from first on (user_namespaces(7)).
func mapped(first, n int) bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		var inside, outside, count int
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err == nil && first >= inside && first+n <= inside+count {
			return true
		}
	}
	return false
}

// closedTo names the first folder above path, path included, that other users can't enter; empty if there is none.
func closedTo(path string) string {
	for ; ; path = filepath.Dir(path) {
		st, err := os.Stat(path)
		if err != nil || st.Mode()&0o001 == 0 {
			return path
		}
		if path == "/" {
			return ""
		}
	}
}
