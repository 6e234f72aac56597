#include "engine/inline_roles.h"

#include <memory>
#include <utility>

#include "core/error.h"

namespace irt {

namespace {

// Counts the calls under way; what fails is thrown.
class Inline final : public LaneEvents {
 public:
  std::size_t running = 0;

  void step_closed(const Key&, int, PlanStep) override {}
  void verdict_known(const Key&, bool, double) override {}
  void done(const Key&, CallResult) override { --running; }
  void failed(const Key&, Failure failure) override { throw Error(failure.code, failure.message); }
  void cancelled(const Key&) override { --running; }
  void down(LaneId, Failure) override {}
};

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
  CallResult finish(StopReason stop) override {
    answer_.stop = stop;
    return Verdict{};
  }

 private:
  Answer& answer_;
};

std::shared_ptr<LaneCall> make_call(std::size_t number, std::span<const std::int64_t> ids,
                                    std::span<const std::int64_t> mask, std::uint64_t seed) {
  auto made = std::make_shared<LaneCall>();
  made->call.key = {0, number};
  made->call.seed = seed;
  made->call.optimizations.encode_text_ahead = made->call.optimizations.cache_vision = false;
  made->text = std::make_shared<const EncodedText>(
      EncodedText{{ids.begin(), ids.end()}, {mask.begin(), mask.end()}});
  return made;
}

ImageRef copy_of(const ImageView& image) {
  if (image.data == nullptr) return nullptr;
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
  try {
    while (next < questions.size() || events.running > 0) {
      for (; next < questions.size() && events.running < slots; ++next) {
        const Question& question = questions[next];
        const auto call = make_call(next + 1, question.ids, {}, question.seed);
        call->call.role = Role::kCritic;  // p(success) is told at every token
        call->call.retry = question.retry;
        for (const ImageView& image : question.images) call->images.push_back(copy_of(image));
        model_.admit(call, std::make_unique<WholeAnswer>(made[next]));
        ++events.running;
      }
      model_.step(events);
    }
  } catch (...) {
    for (std::size_t i = 0; i < next; ++i) static_cast<void>(model_.cancel({0, i + 1}));
    throw;
  }
  return made;
}

Answer InlineVlm::answer(const Question& question) {
  return std::move(answers({&question, 1}).front());
}

InlineGenerator::InlineGenerator(const ImageModelConfig& config)
    : model_(config, [this](const Key& call, PixelBuffer pixels) {
        made_ = std::move(pixels);
        return Image{call, 0};
      }) {}

PixelBuffer InlineGenerator::generate(std::span<const std::int64_t> ids,
                                      std::span<const std::int64_t> mask, const ImageView& source,
                                      std::uint64_t seed, int width, int height, int steps) {
  const auto made = make_call(1, ids, mask, seed);
  made->call.role = Role::kGenerator;
  made->call.width = width;
  made->call.height = height;
  made->call.denoising_steps = steps;
  made->images.push_back(copy_of(source));
  model_.admit(made);
  Inline events;
  events.running = 1;
  try {
    while (events.running > 0) model_.step(events);
  } catch (...) {
    static_cast<void>(model_.cancel(made->call.key));
    throw;
  }
  return std::move(made_);
}

}  // namespace irt
