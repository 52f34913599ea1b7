package org.example.instruments

import android.content.Context
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel

/**
 * Runs a model with LiteRT on windows that it cuts as `hmic_keras.Predictor` does.
 *
 * Not safe to call from several threads at once.
 *
 * @param asset the model's name in the assets
 */
class LiteRtPredictor(context: Context, asset: String) : AutoCloseable {
    val card = ModelCard(context.assets.open(asset).use { it.readBytes() })

    private val model =
        CompiledModel.create(context.assets, asset, CompiledModel.Options(Accelerator.CPU))
    private val input = model.createInputBuffer("waveform")

    // By name: the order of outputs differs between LiteRT's interfaces.
    private val outputs = card.levels.associateWith { model.createOutputBuffer(it) }

    /**
     * Scores a clip: the mean over its windows, by level.
     *
     * @param waveform mono, at `card.sampleRate`, in [-1, 1]
     */
    fun predict(waveform: FloatArray): Answer {
        require(waveform.isNotEmpty()) { "The clip holds no samples." }
        val starts = windowStarts(waveform.size, card.windowSamples)
        val sums = card.levels.associateWith { FloatArray(card.classes.getValue(it).size) }
        for (start in starts) {
            // A clip shorter than a window is repeated to fill it.
            input.writeFloat(FloatArray(card.windowSamples) { waveform[(start + it) % waveform.size] })
            model.run(mapOf("waveform" to input), outputs)
            for ((level, sum) in sums) {
                outputs.getValue(level).readFloat().forEachIndexed { i, score ->
                    sum[i] += score / starts.size
                }
            }
        }
        return sums.mapValues { (level, sum) -> card.classes.getValue(level).zip(sum.toList()).toMap() }
    }

    override fun close() {
        input.close()
        outputs.values.forEach { it.close() }
        model.close()
    }
}

/** Windows lie side by side; the last one is moved back to end where the clip ends. */
internal fun windowStarts(samples: Int, window: Int): List<Int> {
    val last = maxOf(samples - window, 0)
    val starts = (0..last step window).toList()
    return if (starts.last() == last) starts else starts + last
}
