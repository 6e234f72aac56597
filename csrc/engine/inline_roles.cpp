#include "engine/inline_roles.h"

#include <memory>
#include <utility>

#include "core/error.h"

namespace irt {

namespace {

// The calls under way, and the last result; what fails is thrown.
class Inline final : public LaneEvents {
 public:
  std::vector<LaneCallRef> running;
  LaneResult last;

  void step_closed(const LaneCall&, int, PlanStep) override {}
  void verdict_known(const LaneCall&, bool, double) override {}
  void done(const LaneCall& call, LaneResult result) override {
    last = std::move(result);
    cancelled(call);
  }
  void failed(const LaneCall&, Failure failure) override {
    throw Error(failure.code, failure.message);
  }
  void cancelled(const LaneCall& call) override {
    std::erase_if(running, [&call](const LaneCallRef& known) { return known.get() == &call; });
  }
  void down(LaneId, Failure) override {}
};

// Steps the model until `enough`; what it throws ends all calls.
template <class Enough>
void run(RoleModel& model, Inline& events, Enough enough) {
  try {
    while (!enough()) model.step(events);
  } catch (...) {
    for (const LaneCallRef& call : events.running) static_cast<void>(model.cancel(*call));
    throw;
  }
}

// Keeps an answer as it came.
class WholeAnswer final : public AnswerReader {
 public:
  explicit WholeAnswer(Answer& answer) : answer_(answer) {}
  bool take(const AnswerToken& token, LaneEvents& /*events*/) override {
    answer_.tokens.push_back(token.id);
    answer_.offsets.push_back(answer_.text.size());
    answer_.p_success.push_back(token.p_success);
    answer_.text += token.bytes;
    return false;
  }
  LaneResult finish(StopReason stop) override {
    answer_.stop = stop;
    return Verdict{};
  }

 private:
  Answer& answer_;
};

LaneCallRef make_call(Role role, std::span<const std::int64_t> ids,
                      std::span<const std::int64_t> mask, std::uint64_t seed) {
  auto made = std::make_shared<LaneCall>();
  made->call.role = role;
  made->call.seed = seed;
  made->call.optimizations.encode_text_ahead = made->call.optimizations.cache_vision = false;
  made->text = std::make_shared<const EncodedText>(
      EncodedText{{ids.begin(), ids.end()}, {mask.begin(), mask.end()}});
  return made;
}

ImageRef copy_of(const ImageView& image) {
  auto made = std::make_shared<StoredImage>();
  made->pixels = {image.width, image.height, {image.data, image.data + image.bytes()}};
  return made;
}

VlmConfig with_slots(VlmConfig config, int slots) {
  config.decoder_config.slots = slots;
  return config;
}

}  // namespace

InlineVlm::InlineVlm(VlmConfig config, int slots) : model_(with_slots(std::move(config), slots)) {}

std::vector<Answer> InlineVlm::answers(std::span<const Question> questions) {
  std::vector<Answer> made(questions.size());
  const auto slots = static_cast<std::size_t>(model_.capacity());
  Inline events;
  std::size_t next = 0;
  run(model_, events, [&] {
    for (; next < questions.size() && events.running.size() < slots; ++next) {
      const Question& question = questions[next];
      // A critic: p(success) is told at every token.
      const LaneCallRef call = make_call(Role::kCritic, question.ids, {}, question.seed);
      call->call.retry = question.retry;
      for (const ImageView& image : question.images) call->images.push_back(copy_of(image));
      model_.admit(call, std::make_unique<WholeAnswer>(made[next]));
      events.running.push_back(call);
    }
    return events.running.empty();
  });
  return made;
}

Answer InlineVlm::answer(const Question& question) {
  return std::move(answers({&question, 1}).front());
}

PixelBuffer InlineGenerator::generate(std::span<const std::int64_t> ids,
                                      std::span<const std::int64_t> mask,
                                      std::span<const ImageView> sources, std::uint64_t seed,
                                      int width, int height, int steps) {
  const LaneCallRef made = make_call(Role::kGenerator, ids, mask, seed);
  made->call.width = width;
  made->call.height = height;
  made->call.denoising_steps = steps;
  for (const ImageView& source : sources) made->images.push_back(copy_of(source));
  model_.admit(made);
  Inline events;
  events.running.push_back(made);
  run(model_, events, [&events] { return events.running.empty(); });
  return std::get<PixelBuffer>(std::move(events.last));
}

}  // namespace irt
