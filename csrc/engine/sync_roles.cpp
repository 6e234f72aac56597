#include "engine/sync_roles.h"

#include <unordered_map>
#include <utility>

#include "core/error.h"

namespace irt {

namespace {
VlmConfig with_slots(VlmConfig config, int slots) {
  config.decoder_config.slots = slots;
  return config;
}
}  // namespace

SyncVlm::SyncVlm(const VlmConfig& config, int slots) : vlm_(with_slots(config, slots)) {}

SequenceId SyncVlm::admit(const Question& question) {
  Prompt prompt;
  prompt.ids.assign(question.ids.begin(), question.ids.end());
  prompt.sampling = vlm_.sampling(question.seed, question.retry);
  prompt.max_new_tokens = vlm_.config().max_new_tokens;
  if (constrained_) prompt.grammar = vlm_.grammar(question.images.size());
  for (const ImageView& image : question.images) {
    prompt.images.push_back(vlm_.features(image, vlm_.pixel_limit(question.images.size())));
  }
  return vlm_.decoder().admit(prompt);
}

void SyncVlm::take(const TokenOut& token, Answer& answer) const {
  answer.stop = token.stop;
  if (token.stop == StopReason::kNonFinite) {
    throw Error(ErrorCode::kBackendFailed, "[SyncVlm] the logits are not finite");
  }
  if (token.stop == StopReason::kGrammar) {
    throw Error(ErrorCode::kBackendFailed, "[SyncVlm] " + std::string(token.problem));
  }
  if (token.stop == StopReason::kEndOfText) return;
  answer.tokens.push_back(token.token);
  answer.offsets.push_back(answer.text.size());
  answer.p_success.push_back(vlm_.p_success(token.logits));
  answer.text += vlm_.config().tokens->bytes(static_cast<std::int32_t>(token.token));
}

Answer SyncVlm::answer(std::span<const std::int64_t> ids, std::span<const ImageView> images,
                       std::uint64_t seed, int retry) {
  const Question question{ids, {images.begin(), images.end()}, seed, retry};
  return std::move(answers({&question, 1}).front());
}

std::vector<Answer> SyncVlm::answers(std::span<const Question> questions) {
  BatchedDecoder& decoder = vlm_.decoder();
  std::vector<Answer> made(questions.size());
  std::unordered_map<SequenceId, std::size_t> live;
  std::vector<TokenOut> out;
  std::size_t next = 0;
  try {
    while (next < questions.size() || !live.empty()) {
      for (; next < questions.size() && decoder.free_slots() > 0; ++next) {
        live.emplace(admit(questions[next]), next);
      }
      decoder.step(out);
      for (const TokenOut& token : out) {
        take(token, made[live.at(token.sequence)]);
        if (token.stop == StopReason::kNone) continue;
        decoder.release(token.sequence);
        live.erase(token.sequence);
      }
    }
  } catch (...) {
    for (const auto& [sequence, index] : live) decoder.release(sequence);
    throw;
  }
  return made;
}

SyncGenerator::SyncGenerator(const GeneratorLaneConfig& config)
    : denoiser_(config.generator, config.session) {}

PixelBuffer SyncGenerator::generate(std::span<const std::int64_t> ids,
                                    std::span<const std::int64_t> mask, const ImageView& source,
                                    std::uint64_t seed, int width, int height, int steps) {
  auto text = std::make_shared<const TextEmbedding>(denoiser_.encode_text(ids, mask));
  std::shared_ptr<const Latents> reference;
  if (source.data != nullptr) {
    reference = std::make_shared<const Latents>(denoiser_.encode_image(source));
  }
  DenoiseJob job =
      denoiser_.begin(std::move(text), std::move(reference), seed, width, height, steps);
  DenoiseJob* const jobs[] = {&job};
  while (!job.finished()) denoiser_.step(jobs);
  return denoiser_.decode(job);
}

}  // namespace irt
