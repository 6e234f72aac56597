// The tiny decoder of make_graphs.py: its sizes, made-up image features, answers of a lone
// sequence.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "models/decoder.h"
#include "models/ort_fixture.h"

namespace irt::testing {

inline constexpr int kHidden = 32;
inline constexpr int kDeepstack = 1;
inline constexpr std::int64_t kImageToken = 90;
inline constexpr std::int64_t kPoison = 95;  // its embedding is not a number

inline DecoderConfig decoder_config(int slots, int chunk, int length = 96) {
  DecoderConfig config;
  config.layers = 2;
  config.hidden = kHidden;
  config.kv_heads = 2;
  config.head_dim = 16;
  config.vocab = 96;
  config.deepstack_levels = kDeepstack;
  config.slots = slots;
  config.cache_length = length;
  config.prefill_chunk = chunk;
  config.image_token_id = kImageToken;
  return config;
}

// With the second graph, which makes the one-token steps.
inline DecoderConfig with_decode_graph(DecoderConfig config) {
  config.decode_graph = graph_path("decode.onnx");
  return config;
}

inline BatchedDecoder make_decoder(const DecoderConfig& config,
                                   const SessionOptions& options = {}) {
  return BatchedDecoder(graph_path("decoder.onnx"), config, options);
}

// The same numbers as `features` of make_graphs.py.
inline std::vector<float> made_up(std::int64_t which, std::int64_t count) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t value = (i * 7919 + which * 104729) % 2001;
    values.push_back(static_cast<float>(value - 1000) / 1000.0F);
  }
  return values;
}

inline std::shared_ptr<const VisionFeatures> image(int rows, int columns, std::int64_t which) {
  auto features = std::make_shared<VisionFeatures>();
  features->grid_height = 2 * rows;
  features->grid_width = 2 * columns;
  features->tokens = rows * columns;
  const std::int64_t tokens = features->tokens;
  features->embeds = Tensor::of(made_up(which, tokens * kHidden), {tokens, kHidden});
  features->deepstack =
      Tensor::of(made_up(which + 1, kDeepstack * tokens * kHidden), {kDeepstack, tokens, kHidden});
  return features;
}

struct Answer {
  std::vector<std::int64_t> tokens;
  std::vector<std::vector<float>> logits;
  StopReason stop = StopReason::kNone;
  std::string problem;

  friend bool operator==(const Answer&, const Answer&) = default;

  void add(const TokenOut& out) {
    tokens.push_back(out.token);
    logits.emplace_back(out.logits.begin(), out.logits.end());
    stop = out.stop;
    problem = out.problem;
  }
  // Whether this is a beginning of `whole`, bit for bit.
  [[nodiscard]] bool begins(const Answer& whole) const {
    if (tokens.size() > whole.tokens.size()) return false;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] != whole.tokens[i] || logits[i] != whole.logits[i]) return false;
    }
    return tokens.size() < whole.tokens.size() || stop == whole.stop;
  }
};

// Runs a sequence that is already admitted, alone, to its end.
inline Answer finish(BatchedDecoder& decoder, SequenceId sequence) {
  Answer answer;
  std::vector<TokenOut> out;
  while (answer.stop == StopReason::kNone) {
    decoder.step(out);
    for (const TokenOut& token : out) {
      if (token.sequence == sequence) answer.add(token);
    }
  }
  decoder.release(sequence);
  return answer;
}

// Runs prompts that fit into the slots side by side, to their ends.
inline std::vector<Answer> finish_all(BatchedDecoder& decoder, const std::vector<Prompt>& prompts) {
  std::vector<SequenceId> ids;
  for (const Prompt& prompt : prompts) ids.push_back(decoder.admit(prompt));
  std::vector<Answer> answers(prompts.size());
  std::vector<TokenOut> out;
  while (decoder.active() > 0) {
    decoder.step(out);
    for (const TokenOut& token : out) {
      const auto at = std::ranges::find(ids, token.sequence) - ids.begin();
      answers[static_cast<std::size_t>(at)].add(token);
    }
  }
  for (const SequenceId id : ids) decoder.release(id);
  return answers;
}

// A decoder of one slot that takes any prompt in one chunk and reuses nothing.
inline BatchedDecoder lone_decoder(DecoderConfig config) {
  config.slots = 1;
  config.prefill_chunk = config.cache_length;
  config.reuse_prefix = false;
  return make_decoder(config);
}

// What the prompt gets when nothing else ever ran.
inline Answer alone(const Prompt& prompt, const DecoderConfig& config) {
  BatchedDecoder decoder = lone_decoder(config);
  return finish(decoder, decoder.admit(prompt));
}

inline Prompt text_prompt(std::vector<std::int64_t> ids, int max_new_tokens = 12) {
  Prompt prompt;
  prompt.ids = std::move(ids);
  prompt.max_new_tokens = max_new_tokens;
  return prompt;
}

}  // namespace irt::testing
