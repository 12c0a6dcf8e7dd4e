import org.wso2.carbon.databridge.agent.DataPublisher;
import org.wso2.carbon.databridge.commons.Event;

/** Publishes numbered events with WSO2's data agent: some to warm up, then those that are measured until the agent's queue is sent. */
public final class Publish {
    private static final String[][] AREAS = {{"New York", "NY"}, {"Los Angeles", "CA"}, {"Chicago", "IL"}, {"Houston", "TX"}, {"Seattle", "WA"}};

    public static void main(String[] args) throws Exception {
        int warm = Integer.parseInt(args[5]);
        int count = Integer.parseInt(args[6]);
        DataPublisher publisher = new DataPublisher("Thrift", args[0], args[1], args[2], args[3]);
        for (int i = 0; i < warm; i++) {
            publisher.publish(event(args[4], i));
        }
        long began = System.nanoTime();
        for (int i = warm; i < warm + count; i++) {
            publisher.publish(event(args[4], i));
        }
        publisher.shutdownWithAgent();
        System.out.printf("warm %d published %d in %.3f s%n", warm, count, (System.nanoTime() - began) / 1e9);
        System.exit(0);
    }

    private static Event event(String stream, int i) {
        String[] area = AREAS[i % AREAS.length];
        Object[] meta = {"host-" + i % 40};
        Object[] payload = {
            (long) i, area[0], area[1], i % 7, i % 1000 / 3f, i * 1.25, i % 2 == 0,
            "reading of the hour, taken by the meter and sent unchanged " + i % 977
        };
        return new Event(stream, System.currentTimeMillis(), meta, null, payload);
    }
}
