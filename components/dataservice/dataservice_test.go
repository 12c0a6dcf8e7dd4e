package dataservice

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"carbonado.dev/carbonado/components/dataservice/storetest"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	"carbonado.dev/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open starts the component under the kernel double.
func open(t testing.TB) storetest.Node {
	k := sdktest.NewKernel(t)
	c := k.Start(Start, sdktest.WithDescriptor("component.yaml"))
	conns := func() storetest.Conns {
		return storetest.Conns{
			Records: c.Conn(analyticsv1.RecordStore_ServiceDesc.ServiceName),
			Log:     c.Conn(analyticsv1.EventLog_ServiceDesc.ServiceName),
			Feed:    c.Conn(analyticsv1.ChangeFeed_ServiceDesc.ServiceName),
		}
	}
	data := filepath.Join(k.Dir(), "repository", "data", "DataService")
	return storetest.Node{Conns: conns(), Segments: filepath.Join(data, "segments"), Staging: filepath.Join(data, "staging"), Restart: func() storetest.Conns {
		c = c.Restart()
		return conns()
	}}
}

func TestContract(t *testing.T) { storetest.Run(t, open) }
