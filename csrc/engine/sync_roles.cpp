#include "engine/sync_roles.h"

#include <utility>

#include "core/error.h"

namespace irt {

namespace {
VlmConfig one_slot(VlmConfig config) {
  config.decoder_config.slots = 1;
  return config;
}
}  // namespace

SyncVlm::SyncVlm(const VlmConfig& config) : vlm_(one_slot(config)) {}

Answer SyncVlm::answer(std::span<const std::int64_t> ids, std::span<const rt::ImageView> images,
                       std::uint64_t seed, int retry) {
  rt::Prompt prompt;
  prompt.ids.assign(ids.begin(), ids.end());
  prompt.sampling = vlm_.sampling(seed, retry);
  prompt.max_new_tokens = vlm_.config().max_new_tokens;
  for (const rt::ImageView& image : images) {
    prompt.images.push_back(vlm_.features(image, vlm_.pixel_limit(images.size())));
  }
  rt::BatchedDecoder& decoder = vlm_.decoder();
  const rt::SequenceId sequence = decoder.admit(prompt);
  Answer answer;
  std::vector<rt::TokenOut> out;
  try {
    while (answer.stop == rt::StopReason::kNone) {
      decoder.step(out);
      for (const rt::TokenOut& token : out) {
        answer.stop = token.stop;
        if (token.stop == rt::StopReason::kNonFinite) {
          throw Error(ErrorCode::kBackendFailed, "[SyncVlm] the logits are not finite");
        }
        if (token.stop == rt::StopReason::kEndOfText) continue;
        answer.tokens.push_back(token.token);
        answer.offsets.push_back(answer.text.size());
        answer.p_success.push_back(vlm_.p_success(token.logits));
        answer.text += vlm_.config().tokens->bytes(static_cast<std::int32_t>(token.token));
      }
    }
  } catch (...) {
    decoder.release(sequence);
    throw;
  }
  decoder.release(sequence);
  return answer;
}

SyncGenerator::SyncGenerator(const GeneratorLaneConfig& config)
    : denoiser_(config.generator, config.session) {}

rt::PixelBuffer SyncGenerator::generate(std::span<const std::int64_t> ids,
                                        std::span<const std::int64_t> mask,
                                        const rt::ImageView& source, std::uint64_t seed, int width,
                                        int height, int steps) {
  auto text = std::make_shared<const rt::TextEmbedding>(denoiser_.encode_text(ids, mask));
  std::shared_ptr<const rt::Latents> reference;
  if (source.data != nullptr) {
    reference = std::make_shared<const rt::Latents>(denoiser_.encode_image(source));
  }
  rt::DenoiseJob job =
      denoiser_.begin(std::move(text), std::move(reference), seed, width, height, steps);
  rt::DenoiseJob* const jobs[] = {&job};
  while (!job.finished()) denoiser_.step(jobs);
  return denoiser_.decode(job);
}

}  // namespace irt
