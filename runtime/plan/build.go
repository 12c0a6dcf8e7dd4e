package plan

import (
	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/config"
	"github.com/Masterminds/semver/v3"
)

// KernelName is the provider's name in wires to the kernel's own services.
const KernelName = "kernel"

// kernelServices are always there: the kernel provides them to every component.
var kernelServices = []component.Provide{
	{Service: "carbonado.kernel.v1.Coordinator", Version: semver.New(1, 0, 0, "", "")},
	{Service: "carbonado.kernel.v1.Artifacts", Version: semver.New(1, 0, 0, "", "")},
}

// Build works out the plan. The same input gives the same plan.
func Build(in Input) *Plan {
	b := &builder{
		versions: numbers{}, ranges: numbers{}, admitted: map[admission]bool{}, index: map[property]map[string][]int32{}, sharers: map[int32][]int32{},
	}
	b.collect(in)
	b.match()
	b.last()
	return b.write(in.Profile, b.start())
}

// builder makes one plan. What there are thousands of lies in slices and is named by its place in them: the loops go over small entries
// that lie together, a descriptor is read once, and so the time grows as the number of components does.
type builder struct {
	// nodes are the kernel, then the names as they are met; turns are of the nodes; numbers gives their places but the kernel's, and
	// sorted has these by name.
	nodes   []node
	turns   []turn
	numbers numbers
	sorted  []int32
	// wants are the references of all nodes, those of one together in the order of its requires; references say the same for the eye.
	wants      []want
	references []Reference
	offers     []offer
	// contracts are the numbers of services; byContract are the offers of each, the best first.
	contracts  numbers
	byContract groups
	// versions and ranges are the numbers of the versions of offers and of the ranges that wants ask for, as they are written: there are
	// few. versionTexts are the versions as wires have them; admitted remembers which range has which version.
	versions, ranges numbers
	versionTexts     []string
	admitted         map[admission]bool
	// index finds offers by one property and its value; nil where the property may yet come with any value.
	index map[property]map[string][]int32
	// fits are the offers that wants could be wired to whether they run or not: those of one want together, the best first. users are
	// the fits of each provider.
	fits  []fit
	users groups
	// sharers are the nodes that use a share, by its owner; gated are those that have gates.
	sharers map[int32][]int32
	gated   []int32
	// wires is the most that there can be.
	wires int
}

// node is one name.
type node struct {
	name     string
	pack     *catalog.Package      // nil if it is not installed
	desc     *component.Descriptor // nil unless the package can be read
	config   *config.Component
	enabled  bool
	rule     string
	requires []component.Require // as configuration changes them
	wants    int32               // the place of the first of them in builder.wants
	// own is why the component can't run whatever others do; nil if nothing.
	own *component.Cause
}

// kernel is the kernel's place among the nodes.
const kernel int32 = 0

// want is one reference of one node.
type want struct {
	node     int32
	contract int32
	versions int32 // the range's number, or anyVersion
	fits     int32 // the place of the first in builder.fits; they end where those of the next want begin
	min      int32
	lacks    int32 // how many providers are yet to run until it is satisfied
	one      bool  // it takes one provider at most
	atStart  bool
	filtered bool
}

// anyVersion stands for no range.
const anyVersion int32 = -1

// offer is one `provides` of one node.
type offer struct {
	provide  *component.Provide
	node     int32
	contract int32
	version  int32
	dynamic  bool
	// described: the package carries contracts.
	described bool
}

// fit is an offer that a want could be wired to.
type fit struct{ want, offer int32 }
