#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "core/error.h"
#include "models/ort_fixture.h"
#include "tensor/ort.h"

using namespace irt;
using irt::ErrorCode;

namespace {

// The error that a call throws; a call that throws none fails the test.
template <typename Function>
irt::Error error_of(Function&& function) {
  try {
    function();
  } catch (const irt::Error& error) {
    return error;
  }
  FAIL("no error was thrown");
  return irt::Error(ErrorCode::kInternal, "");
}

bool says(const irt::Error& error, const std::string& part) {
  return std::string(error.what()).find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("the library is loaded once, and says what it is") {
  IRT_NEEDS_ORT();
  CHECK(runtime_loaded());
  CHECK(runtime_version().find('.') != std::string::npos);
  const std::vector<std::string> providers = available_providers();
  CHECK(std::find(providers.begin(), providers.end(), "CPUExecutionProvider") != providers.end());
  const irt::Error error = error_of([] { load_runtime(0x10); });
  CHECK(error.code() == ErrorCode::kBackendFailed);
  CHECK(says(error, "another ONNX Runtime"));
}

TEST_CASE("a graph that cannot be loaded names its file") {
  IRT_NEEDS_ORT();
  const irt::Error missing = error_of([] { Session("/nowhere/decoder.onnx", {}); });
  CHECK(missing.code() == ErrorCode::kBadPack);
  CHECK(says(missing, "/nowhere/decoder.onnx"));
  const std::string no_graph = testing::graph_path("decoder_reference.txt");
  const irt::Error broken = error_of([&] { Session(no_graph, {}); });
  CHECK(broken.code() == ErrorCode::kBadPack);
  CHECK(says(broken, no_graph));
}

TEST_CASE("a provider that the library lacks is an error that names those it has") {
  IRT_NEEDS_ORT();
  SessionOptions options;
  options.providers = {"AbacusExecutionProvider", "CPUExecutionProvider"};
  const irt::Error error = error_of([&] { Session(testing::graph_path("decoder.onnx"), options); });
  CHECK(error.code() == ErrorCode::kBackendFailed);
  CHECK(says(error, "AbacusExecutionProvider"));
  CHECK(says(error, "CPUExecutionProvider"));
}

TEST_CASE("a configuration entry that the library refuses is named") {
  IRT_NEEDS_ORT();
  SessionOptions options;
  options.config = {{"", "1"}};
  const irt::Error error = error_of([&] { Session(testing::graph_path("broken.onnx"), options); });
  CHECK(error.code() == ErrorCode::kBackendFailed);
}

TEST_CASE("a session knows its inputs and outputs") {
  IRT_NEEDS_ORT();
  const Session session(testing::graph_path("decoder.onnx"), {});
  REQUIRE(session.inputs().size() == 10);
  CHECK(session.inputs()[0].name == "input_ids");
  CHECK(session.inputs()[0].type == ElementType::kInt64);
  CHECK(session.inputs()[1].shape == std::vector<std::int64_t>{3, -1, -1});
  CHECK(session.outputs()[0].type == ElementType::kFloat32);
  CHECK(session.outputs()[0].shape == std::vector<std::int64_t>{-1, 96});
  session.require_input("past_len");
  session.require_output("present_v.1");
  const irt::Error error = error_of([&] { session.require_input("present_v.1"); });
  CHECK(error.code() == ErrorCode::kBadPack);
  CHECK(says(error, "decoder.onnx"));
  CHECK(says(error, "past_len"));
}

TEST_CASE("a run reads and writes the caller's memory, again and again") {
  IRT_NEEDS_ORT();
  const Session session(testing::graph_path("broken.onnx"), {});
  std::array<float, 8> in{1, 2, 3, 4, 5, 6, 7, 8};
  std::array<float, 8> out{};
  const std::array<std::int64_t, 2> one{1, 4};
  Run run(session);
  run.bind_input("x", Value::wrap(std::span(in).first(4), one));
  run.bind_output("y", Value::wrap(std::span(out).first(4), one));
  run.run();
  CHECK(out == std::array<float, 8>{1, 2, 3, 4, 0, 0, 0, 0});
  in[0] = -1;
  run.run();
  CHECK(out[0] == -1);
  run.bind_input("x", Value::wrap(std::span(in).last(4), one));
  run.run();
  CHECK(out[3] == 8);

  SUBCASE("a failing run names the graph, and the next one works") {
    const std::array<std::int64_t, 2> two{2, 4};
    run.bind_input("x", Value::wrap(std::span(in), two));
    const irt::Error error = error_of([&] { run.run(); });
    CHECK(error.code() == ErrorCode::kBackendFailed);
    CHECK(says(error, "broken.onnx"));
    run.bind_input("x", Value::wrap(std::span(in).first(4), one));
    run.run();
    CHECK(out[0] == -1);
  }
  SUBCASE("unbound inputs, unknown names and empty values are errors") {
    CHECK(error_of([&] { run.bind_input("z", Value::wrap(std::span(in).first(4), one)); }).code() ==
          ErrorCode::kBadPack);
    CHECK(error_of([&] {
            run.bind_output("z", Value::wrap(std::span(out).first(4), one));
          }).code() == ErrorCode::kBadPack);
    CHECK(error_of([&] { run.bind_input("x", Value()); }).code() == ErrorCode::kInternal);
    run.clear_bindings();
    CHECK(error_of([&] { run.run(); }).code() == ErrorCode::kBackendFailed);
  }
  SUBCASE("terminate without a run in progress does nothing") {
    run.terminate();
    run.run();
    CHECK(out[3] == 8);
  }
  SUBCASE("a value smaller than its shape is refused") {
    const std::array<std::int64_t, 2> big{3, 4};
    CHECK(error_of([&] { (void)Value::wrap(std::span(in), big); }).code() == ErrorCode::kInternal);
  }
}

TEST_CASE("nothing of the library's stays alive") {
  IRT_NEEDS_ORT();
  const LiveObjects before = live_objects();
  {
    const Session session(testing::graph_path("broken.onnx"), {});
    std::array<float, 4> memory{};
    const std::array<std::int64_t, 2> shape{1, 4};
    Value value = Value::wrap(memory, shape);
    Value moved = std::move(value);
    Run run(session);
    run.bind_input("x", moved);
    CHECK(live_objects().sessions == before.sessions + 1);
    CHECK(live_objects().values == before.values + 1);
    CHECK(live_objects().runs == before.runs + 1);
    CHECK_THROWS(Session("/nowhere", {}));
  }
  CHECK(live_objects().sessions == before.sessions);
  CHECK(live_objects().values == before.values);
  CHECK(live_objects().runs == before.runs);
}
