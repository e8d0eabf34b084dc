// Answers what it sees; raises what it is told to.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

var calls int

func handle(ctx context.Context, event map[string]any) (map[string]any, error) {
	if text, ok := event["raise"].(string); ok {
		return nil, errors.New(text)
	}
	calls++
	fmt.Println("called", calls)
	invocation, _ := lambdacontext.FromContext(ctx)
	deadline, _ := ctx.Deadline()
	return map[string]any{
		"event": event, "calls": calls, "name": lambdacontext.FunctionName, "version": lambdacontext.FunctionVersion,
		"id": invocation.AwsRequestID, "left": time.Until(deadline).Milliseconds(), "stage": os.Getenv("STAGE"),
	}, nil
}

func main() {
	lambda.Start(handle)
}
