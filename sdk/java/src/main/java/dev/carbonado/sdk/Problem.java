package dev.carbonado.sdk;

import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;

/** An error with a code of the component's own catalogue, a text that names the culprit, and a fix. It travels as carbonado.common.v1.Cause. */
public final class Problem extends RuntimeException {
  private static final long serialVersionUID = 1;
  private static final Metadata.Key<byte[]> DETAILS = Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);

  private final String code;
  private final String fix;
  private final Status.Code status;

  public Problem(Status.Code status, String code, String text, String fix) {
    super(text);
    this.status = status;
    this.code = code;
    this.fix = fix;
  }

  Wire cause() {
    return Wire.message().string(1, code).string(2, getMessage()).string(4, fix);
  }

  /** Any error as a cause; those without a code get CBN-SDK-001. */
  static Wire causeOf(Throwable t) {
    return t instanceof Problem p ? p.cause() : Wire.message().string(1, "CBN-SDK-001").string(2, String.valueOf(t));
  }

  /** Any error as a gRPC status with its cause as a detail. */
  static StatusRuntimeException statusOf(Throwable t) {
    if (t instanceof StatusRuntimeException s) {
      return s;
    }
    Status.Code code = t instanceof Problem p ? p.status : Status.Code.UNKNOWN;
    Wire any = Wire.message().string(1, "type.googleapis.com/carbonado.common.v1.Cause").message(2, causeOf(t));
    Metadata trailers = new Metadata();
    trailers.put(DETAILS, Wire.message().number(1, code.value()).string(2, String.valueOf(t.getMessage())).message(3, any).done());
    return code.toStatus().withDescription(String.valueOf(t.getMessage())).asRuntimeException(trailers);
  }
}
