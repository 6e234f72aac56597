// The native lanes over tiny real graphs, through the driver: results that neighbours, cancels and
// speculation do not change, and nothing left behind. Made for AddressSanitizer as well
// (IRT_NATIVE_CANCELS scales the storm; IRT_SEED).
#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <tuple>

#include "engine/image_model.h"
#include "engine/inline_roles.h"
#include "engine/model_lane.h"
#include "engine/storm.h"
#include "engine/vlm_model.h"
#include "models/decoder_fixture.h"
#include "models/image_fixture.h"
#include "models/ort_fixture.h"
#include "models/toy_family.h"
#include "support/fake_device.h"

using namespace irt;
using namespace irt::test;
using irt::testing::graph_path;

namespace {

constexpr int kVocab = 96;
constexpr int kWords = 80;  // ids below are texts, those above have a meaning
constexpr std::size_t kPromptLength = testing::kTextLength;

bool is_answer(int id) { return id % 8 == 3; }
bool is_refusal(int id) { return id % 8 == 5; }

std::string plan_bytes(int id) {
  const std::string n = std::to_string(id);
  return R"(<answer>{"execution_plan": [{"step_number": 1, "step_name": "a", "instruction": "i",)"
         R"( "prompt": "first )" +
         n +
         R"(", "auxiliary_text": "None"}, {"step_number": 2, "step_name": "b", "prompt": "second )" +
         n + R"("}, {"step_number": 3, "step_name": "c", "prompt": "third )" + n +
         R"("}]}</answer>)";
}

// Random weights speak nonsense; this table makes sense of it: most tokens are words, one in eight
// is a whole answer.
std::shared_ptr<const Vocabulary> table(Role role) {
  std::vector<std::string> bytes;
  for (int id = 0; id < kVocab; ++id) {
    std::string text = std::string("w").append(std::to_string(id)).append(" ");
    if (role == Role::kPlanner && is_answer(id)) text = plan_bytes(id);
    if (role == Role::kCritic && is_answer(id)) {
      text = R"(<answer>{"previous_step_success": true)";
    } else if (role == Role::kCritic && is_refusal(id)) {
      text = R"(<answer>{"previous_step_success": false, "refine_prompt": "better )" +
             std::to_string(id) + R"("})";
    }
    bytes.push_back(std::move(text));
  }
  const std::vector<std::int32_t> special{static_cast<std::int32_t>(testing::kImageToken),
                                          static_cast<std::int32_t>(testing::kPoison)};
  return std::make_shared<const Vocabulary>(bytes, special);
}

VlmConfig vlm_config(Role role, const SessionOptions& session) {
  VlmConfig config;
  config.session = session;
  config.decoder = graph_path("decoder.onnx");
  config.vision = graph_path("vision_wide.onnx");
  config.decoder_config = testing::decoder_config(4, 16);
  config.vision_config = testing::vision_config(testing::kHidden);
  config.tokens = table(role);
  for (int id = 0; id < kVocab; ++id) {
    if (is_answer(id)) config.true_tokens.push_back(id);
    if (is_refusal(id)) config.false_tokens.push_back(id);
  }
  config.max_new_tokens = 32;
  config.sampling.temperature = 1.0F;
  config.vision_cache = 4;
  return config;
}

ImageModelConfig generator_config(const SessionOptions& session) {
  ImageModelConfig config;
  config.session = session;
  config.generator = testing::small_generator(3);
  config.slots = 3;
  config.text_cache = 4;
  config.latent_cache = 2;
  return config;
}

// Ids of a text: any function of it will do. Images come first.
EncodedText encode(const TextJob& job) {
  EncodedText encoded;
  const bool prompt = job.role == Role::kGenerator;
  const int images = job.role == Role::kCritic ? 2 : job.image_count;
  for (int i = 0; !prompt && i < images; ++i) encoded.ids.push_back(testing::kImageToken);
  const std::string text = job.original + "|" + job.text;
  std::uint64_t state = 0;
  for (const char byte : text) state = mix64(state ^ static_cast<std::uint8_t>(byte));
  for (std::size_t i = 0; i < kPromptLength; ++i) {
    encoded.ids.push_back(static_cast<std::int64_t>(mix64(state + i) % kWords));
  }
  if (prompt) encoded.mask.assign(kPromptLength, 1);
  return encoded;
}

// What runs the graphs: the CPU, unless a test says otherwise.
struct Setup {
  SessionOptions session;
  std::optional<GeneratorConfig> family;  // of the generator, instead of the tiny FLUX.2
};

// A driver with the three native lanes and their text worker.
class Engine {
 public:
  explicit Engine(int max_live, const Setup& runtime = {})
      : driver_(limits(max_live)), texts_(driver_, encode) {
    const auto add = [this](Role role, const char* name, std::unique_ptr<RoleModel> model) {
      const LaneInfo info{driver_.next_lane_id(), role, model->capacity(), name, name};
      driver_.add_lane(
          std::make_unique<ModelLane>(info, std::move(model), driver_, driver_.text()));
    };
    const SessionOptions& session = runtime.session;
    ImageModelConfig images = generator_config(session);
    if (runtime.family) images.generator = *runtime.family;
    add(Role::kPlanner, "planner", std::make_unique<VlmModel>(vlm_config(Role::kPlanner, session)));
    add(Role::kCritic, "critic", std::make_unique<VlmModel>(vlm_config(Role::kCritic, session)));
    add(Role::kGenerator, "generator", std::make_unique<ImageModel>(images));
  }

  Driver& driver() { return driver_; }

 private:
  static DriverConfig limits(int max_live) {
    DriverConfig config;
    config.scheduler.max_live = max_live;
    config.scheduler.max_queued = 64;
    config.text_cache = 16;
    return config;
  }

  Driver driver_;
  TextWorker texts_;
};

RequestSpec native_spec(Random& random) {
  RequestSpec spec;
  spec.text = "request " + std::to_string(random.between(0, 999));
  spec.seed = random.seed();
  spec.t_max = random.between(1, 3);
  spec.speculation.mode = SpeculationMode::kOff;
  return spec;
}

// Settings that may not change a result.
void disturb(RequestSpec& spec, Random& random) {
  spec.speculation.mode = random.chance(0.5) ? SpeculationMode::kDepth : SpeculationMode::kAuto;
  spec.speculation.depth = random.between(1, 2);
  for (bool* device : {&spec.optimizations.stream_plan, &spec.optimizations.early_verdict,
                       &spec.optimizations.skip_last_judge, &spec.optimizations.encode_text_ahead,
                       &spec.optimizations.cache_vision}) {
    *device = random.chance(0.7);
  }
}

void check_empty(Driver& driver) {
  CHECK(left_behind(driver) == "");
  CHECK(driver.counters().stray_reports == 0);
}

std::vector<RequestId> submit_eight(Driver& driver, Random& random) {
  std::vector<RequestId> requests;
  for (int i = 0; i < 8; ++i) {
    RequestSpec spec = native_spec(random);
    disturb(spec, random);
    requests.push_back(driver.submit(spec));
  }
  return requests;
}

std::vector<RequestSpec> native_specs(Random& random) {
  std::vector<RequestSpec> specs;
  for (int i = 0; i < 16; ++i) specs.push_back(native_spec(random));
  return specs;
}

// What each request gets when nothing else runs.
std::vector<Seen> quiet_results(const std::vector<RequestSpec>& specs, const Setup& runtime) {
  std::vector<Seen> quiet;
  Engine engine(1, runtime);
  for (const RequestSpec& spec : specs) {
    const RequestId request = engine.driver().submit(spec);
    quiet.push_back(read_all(engine.driver(), request));
    engine.driver().forget(request);
    CHECK(quiet.back().disorder == "");
  }
  check_empty(engine.driver());
  const auto finished = [](const Seen& seen) { return seen.outcome == Outcome::kFinished; };
  CHECK(std::ranges::count_if(quiet, finished) >= 8);
  CHECK(std::ranges::any_of(quiet, [](const Seen& seen) { return seen.steps.size() == 3; }));
  return quiet;
}

// All requests at once, with other settings, some of them cancelled on the way.
void check_disturbed(const std::vector<RequestSpec>& specs, const std::vector<Seen>& quiet,
                     const Setup& runtime, int rounds, Random& random) {
  int cancelled = 0;
  Engine engine(6, runtime);
  Driver& driver = engine.driver();
  for (int round = 0; round < rounds; ++round) {
    std::vector<RequestId> requests;
    std::vector<bool> doomed;
    for (RequestSpec spec : specs) {
      disturb(spec, random);
      requests.push_back(driver.submit(spec));
      doomed.push_back(random.chance(0.4));
    }
    std::vector<Seen> seen(specs.size());
    std::vector<std::jthread> readers;
    for (std::size_t i = 0; i < specs.size(); ++i) {
      readers.emplace_back([&, i] { seen[i] = read_all(driver, requests[i]); });
    }
    for (std::size_t i = 0; i < specs.size(); ++i) {
      if (!doomed[i]) continue;
      std::this_thread::sleep_for(std::chrono::microseconds(random.between(0, 3'000)));
      driver.cancel(requests[i]);
    }
    readers.clear();
    for (std::size_t i = 0; i < specs.size(); ++i) {
      CAPTURE(i);
      CHECK(seen[i].disorder == "");
      CHECK(is_prefix(seen[i].steps, quiet[i].steps));
      if (seen[i].outcome == Outcome::kCancelled) {
        CHECK(doomed[i]);
        ++cancelled;
      } else {
        CHECK(seen[i].outcome == quiet[i].outcome);
        CHECK(seen[i].steps == quiet[i].steps);
      }
      driver.forget(requests[i]);
    }
    check_empty(driver);
  }
  CHECK(cancelled > 0);
}

}  // namespace

TEST_CASE("native lanes: neighbours, speculation and cancels in flight do not change a result") {
  IRT_NEEDS_ORT();
  const std::uint64_t seed = setting("IRT_SEED", 71);
  CAPTURE(seed);
  Random random(seed);
  const std::vector<RequestSpec> specs = native_specs(random);
  const std::vector<Seen> quiet = quiet_results(specs, {});
  check_disturbed(specs, quiet, {}, 4, random);

  // On a device the same bits come out, disturbed or not.
  const int blocks = testing::FakeDevice::get()->blocks;
  for (const bool consumers_on_host : {false, true}) {
    CAPTURE(consumers_on_host);
    const Setup device{testing::fake_session(consumers_on_host), {}};
    const std::vector<Seen> there = quiet_results(specs, device);
    for (std::size_t i = 0; i < specs.size(); ++i) CHECK(there[i].steps == quiet[i].steps);
    check_disturbed(specs, quiet, device, 2, random);
  }
  CHECK(testing::FakeDevice::get()->blocks == blocks);
}

TEST_CASE("native lanes: a generator family of a test's own runs like the built-in one") {
  IRT_NEEDS_ORT();
  Random random(setting("IRT_SEED", 74));
  const std::vector<RequestSpec> specs = native_specs(random);
  const Setup toy{{}, testing::toy_generator()};
  check_disturbed(specs, quiet_results(specs, toy), toy, 2, random);
}

TEST_CASE("inline roles: a device gives the bits of the CPU") {
  IRT_NEEDS_ORT();
  const auto made_on = [](const SessionOptions& session) {
    InlineVlm critic(vlm_config(Role::kCritic, session), 3);
    InlineGenerator generator(generator_config(session));
    const PixelBuffer before = testing::picture(1, 12, 8);
    const PixelBuffer after = testing::picture(2, 12, 8);
    std::vector<std::string> texts;
    std::vector<std::vector<double>> probabilities;
    std::vector<std::vector<std::uint8_t>> images;
    std::vector<Question> questions(7);
    const std::vector<std::int64_t> ids{testing::kImageToken, 5, testing::kImageToken, 6, 7};
    for (std::size_t i = 0; i < questions.size(); ++i) {
      questions[i] = {ids, {before.view(), after.view()}, i, static_cast<int>(i % 2)};
    }
    for (const auto& answer : critic.answers(questions)) {
      texts.push_back(answer.text);
      probabilities.push_back(answer.p_success);
    }
    const std::vector<std::int64_t> prompt(kPromptLength, 3);
    const ImageView sources[] = {before.view(), after.view()};
    for (const std::size_t count : {0U, 1U, 2U}) {
      images.push_back(
          generator.generate(prompt, prompt, std::span(sources).first(count), 9, 0, 0, 3).data);
    }
    return std::tuple(texts, probabilities, images);
  };
  const auto here = made_on({});
  CHECK(made_on(testing::fake_session()) == here);
  CHECK(made_on(testing::fake_session(true)) == here);
}

TEST_CASE("native lanes: a storm of cancels leaves no image, no call and no session behind") {
  IRT_NEEDS_ORT();
  const std::uint64_t wanted = setting("IRT_NATIVE_CANCELS", 300);
  const std::uint64_t seed = setting("IRT_SEED", 72);
  CAPTURE(seed);
  {
    Engine engine(8);
    Driver& driver = engine.driver();
    Random random(seed);
    std::uint64_t cancelled = 0;
    int given_up = 0;  // answers
    for (std::uint64_t turn = 0; turn < 20 * wanted && cancelled < wanted; ++turn) {
      const std::vector<RequestId> requests = submit_eight(driver, random);
      for (const RequestId request : requests) {
        std::this_thread::sleep_for(std::chrono::microseconds(random.between(0, 2'000)));
        driver.cancel(request);
      }
      for (const RequestId request : requests) {
        const Seen seen = read_all(driver, request);
        CHECK(seen.disorder == "");
        cancelled += seen.outcome == Outcome::kCancelled ? 1U : 0U;
      }
      CHECK(settles(driver));
      for (const RequestId request : requests) {
        const Trace trace = driver.trace(request);
        for (const Span& span : trace.spans()) {
          if (span.outcome != SpanOutcome::kCancelled || span.answer.empty()) continue;
          CHECK(span.stop == StopReason::kCancelled);
          ++given_up;
        }
        driver.forget(request);
      }
    }
    CHECK(cancelled >= wanted);
    CHECK(given_up > 0);
    check_empty(driver);
  }
  CHECK(live_objects().sessions.load() == 0);
  CHECK(live_objects().values.load() == 0);
  CHECK(live_objects().runs.load() == 0);
}

TEST_CASE("native lanes: an engine that is closed while its graphs run lets go of everything") {
  IRT_NEEDS_ORT();
  const std::uint64_t seed = setting("IRT_SEED", 73);
  CAPTURE(seed);
  Random random(seed);
  for (int turn = 0; turn < 8; ++turn) {
    Engine engine(8);
    Driver& driver = engine.driver();
    const std::vector<RequestId> requests = submit_eight(driver, random);
    std::this_thread::sleep_for(std::chrono::microseconds(random.between(0, 8'000)));
    driver.close();
    for (const RequestId request : requests) {
      CHECK(read_all(driver, request).disorder == "");
      driver.forget(request);
    }
    CHECK(left_behind(driver) == "");
  }
  CHECK(live_objects().sessions.load() == 0);
}

TEST_CASE("native lanes: closing an engine interrupts a vision encode") {
  IRT_NEEDS_ORT();
  VlmConfig config = vlm_config(Role::kPlanner, {});
  config.vision = graph_path("vision_endless.onnx");
  Driver driver({});
  const LaneInfo info{driver.next_lane_id(), Role::kPlanner, 0, "", "planner"};
  driver.add_lane(
      std::make_unique<ModelLane>(info, std::make_unique<VlmModel>(config), driver, driver.text()));
  RequestSpec spec = spec_of("what is in these two?");
  spec.mode = PlanMode::kGuidance;
  Random random(74);
  for (int i = 0; i < 2; ++i) spec.images.push_back(driver.put_image(random_image(random)));
  const RequestId request = driver.submit(spec);
  for (const TextJob& job : driver.text().poll(std::chrono::seconds(10), 1)) {
    driver.text().finish(job.id, encode(job));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(driver.counters().running == 1);
  driver.close();  // returns: the encode would run for hours
  CHECK(read_all(driver, request).outcome == Outcome::kCancelled);
}
