package tidegate;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.Map;

/** Answers what it sees; raises what it is told to. */
public final class Handler implements RequestHandler<Map<String, Object>, Map<String, Object>> {
  private int calls;

  @Override
  public Map<String, Object> handleRequest(Map<String, Object> event, Context context) {
    if (event.containsKey("raise")) {
      throw new IllegalStateException((String) event.get("raise"));
    }
    calls += 1;
    context.getLogger().log("called " + calls + "\n");
    return Map.of(
        "event", event,
        "calls", calls,
        "name", context.getFunctionName(),
        "version", context.getFunctionVersion(),
        "id", context.getAwsRequestId(),
        "left", context.getRemainingTimeInMillis(),
        "stage", System.getenv("STAGE"));
  }
}
