package dev.carbonado.sdk;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.grpc.ServerServiceDefinition;
import java.io.IOException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** A component's view of the kernel. Safe for concurrent use; services and consumers are registered within prepare only. */
public final class Context {
  private static final ObjectMapper JSON = new ObjectMapper();

  private final Wire.Fields conf;
  private final Log log;
  final Events events = new Events();
  final Map<String, Reference> references = new ConcurrentHashMap<>();
  final Map<String, ServerServiceDefinition> services = new LinkedHashMap<>();
  final Map<String, Map<String, String>> provided = new LinkedHashMap<>();
  final Consumers consumers = new Consumers(this);

  Context(Wire.Fields conf) {
    this.conf = conf;
    this.log = Log.of(conf.string(1));
  }

  public String name() {
    return conf.string(1);
  }

  public String version() {
    return conf.string(2);
  }

  public Log log() {
    return log;
  }

  /** The component's own folder, and its working folder. */
  public Path dataFolder() {
    return Path.of(conf.string(5));
  }

  /** The package, read only. */
  public Path packageFolder() {
    return Path.of(conf.string(7));
  }

  /** The configuration, defaults filled in and secrets resolved. */
  @SuppressWarnings("unchecked")
  public Map<String, Object> config() {
    byte[] json = conf.bytes(4);
    try {
      return json.length == 0 ? Map.of() : JSON.readValue(json, Map.class);
    } catch (IOException e) {
      throw new IllegalStateException("the configuration is no JSON", e);
    }
  }

  /** A folder of this component's or one that it uses, for example "DataService/segments"; null if component.yaml does not ask for it. */
  public Path share(String name) {
    String folder = conf.map(9).get(name);
    return folder == null ? null : Path.of(folder);
  }

  /** The reference of that name under `requires`; "kernel" is the kernel's own services. */
  public Reference reference(String name) {
    return references.computeIfAbsent(name, Reference::new);
  }

  /** Serves and publishes a service that component.yaml provides; it is published after acquire. */
  public void provide(ServerServiceDefinition service) {
    register(service);
    provided.put(service.getServiceDescriptor().getName(), Map.of());
  }

  /** Serves a service that the component publishes itself (`dynamic: true`), with properties of its own. */
  public void register(ServerServiceDefinition service) {
    services.put(service.getServiceDescriptor().getName(), service);
  }

  /** Publishes a registered service; the handle ends it. */
  public Events.Registration publish(String service, Map<String, String> properties) {
    if (!services.containsKey(service)) {
      throw new IllegalStateException(service + " is published without having been registered");
    }
    return events.publish(service, properties);
  }

  /** Calls f for each batch of a stream, one at a time per producer; component.yaml provides StreamConsumer with `dynamic: true`. */
  public void consume(String stream, boolean durable, Consumers.Handler f) {
    consumers.add(stream, durable, f);
  }

  public enum Health { UNSPECIFIED, UNKNOWN, OK, WARN, TEMPORARILY_UNAVAILABLE, CRITICAL }

  /** Says how the component feels, and why unless it is OK. */
  public void health(Health h, Throwable why) {
    events.health(h.ordinal(), why == null ? null : Problem.causeOf(why));
  }
}
