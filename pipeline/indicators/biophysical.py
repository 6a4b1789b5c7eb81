"""Leaf area, absorbed light and cover by the neural network of the Sentinel-2 toolbox (Weiss, Baret and Jay 2020).

Eight bands of Sentinel-2 and the cosines of three angles go through five neurons to one value. The networks are version
3.0, Sentinel-2A, of the biophysical processor of ESA's Sentinel-2 toolbox; they reproduce the test cases published with
it. They hold for one image with its angles: a composite must compute them per scene, or bring the angles as bands. The
toolbox flags inputs outside the range that the networks were trained in; here the result is missing there, and where it
lies beyond what the variable can be by more than the tolerance. The finer convex hull of trained inputs is not tested.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.indicators.registry import indicator

SOURCE = (
    "Weiss, Baret and Jay 2020, S2ToolBox level 2 products LAI, FAPAR, FCOVER, version 2.0 (algorithm theoretical basis "
    "document, INRAE and ESA)"
)

TRAINED = (  # least and largest input: green, red, rededge1, rededge2, rededge3, nir08, swir16, swir22, cosines
    (0.0, 0.239015274639),
    (0.0, 0.291727364715),
    (0.0, 0.326526714593),
    (0.00871736433031, 0.593890391037),
    (0.0196931604306, 0.746690992721),
    (0.0262178282821, 0.758239377971),
    (0.0189319348944, 0.492933719058),
    (0.0, 0.48774992171),
    (0.979624800125, 0.999999999969),
    (0.342108564072, 0.927484749175),
    (-0.999999998674, 0.999999999887),
)
N_BANDS = 8


@dataclass(frozen=True)
class Network:
    """Weights and biases of five hidden neurons (hyperbolic tangent) and of the output, and the range of the output."""

    hidden: tuple[tuple[float, ...], ...]
    hidden_bias: tuple[float, ...]
    output: tuple[float, ...]
    output_bias: float
    trained: tuple[float, float]
    possible: tuple[float, float]
    tolerance: float


# fmt: off
LAI = Network(
    hidden=(
        (
            -1.4710156196971582, -0.2563532709468933, -2.2180860576490495, -1.085898980193225, 1.476503732633888,
            -0.203130406532602, 1.9247696053465146, 1.836433120470074, -0.4178313281505014, 0.11120379207368114,
            0.2710853575035239,
        ),
        (
            1.8061903884637975, 1.1335141059415899, 0.7529844590307209, -1.849059724727423, -2.3218651443747502,
            -0.14636054606555837, -0.55740658813474, 0.6841136954400282, 0.8247349654342588, -0.6080497708934546,
            0.32421327324338656,
        ),
        (
            0.7970672934944534, 0.4460131825143041, 0.408586425658519, -1.485087188758423, 1.1623034379249386,
            -1.4153189332758485, 1.4595324130059253, 0.3335744055337625, -1.6186285460736094, -0.14549546441013367,
            -2.8578688750531547,
        ),
        (
            0.09421670372484336, -0.22700197694341617, -0.15056963844888643, -1.2842480628443311, 0.6965044295491283,
            1.9782367938424654, -0.8916551406435398, -0.1039817992235624, 0.013484692816631437, 0.007841478637455265,
            -0.02581868621411949,
        ),
        (
            -0.9667116308950019, -0.4183310913759375, -1.890580979987651, 0.0066940023538766685, 1.9755057593307033,
            4.045480239195276, -1.3979478080853602, -0.7644964732510922, 0.010792479104631214, 1.1088706990036719,
            0.04211359644818833,
        ),
    ),
    hidden_bias=(2.1161258270627883, -1.2697541230231073, -0.05084328062062615, -1.3405631105862423, 0.00555729948301853),
    output=(0.03766013804422397, -0.0006743151224540634, -0.000537335098594741, 0.6734767487882749, 0.06266448073894361),
    output_bias=-0.2889370017570876,
    trained=(0.00023377390882650673, 13.834592547008839),
    possible=(0.0, 8.0),
    tolerance=0.2,
)

FAPAR = Network(
    hidden=(
        (
            -0.342108879766, -0.066594641006, -0.08044044041, -1.34121898804, 0.352457529392, 2.73165184846,
            -0.456217591697, -0.537212359198, 0.00193936978401, -0.10066926833, 0.00704571331046,
        ),
        (
            0.29115130624, 0.117596861044, 0.121825388857, 0.699428678004, -0.456582183674, -1.92899219366,
            0.285334555409, 0.413164590058, 0.00166874739222, 0.0420096446326, -0.0156796341418,
        ),
        (
            0.187610737307, -0.625144980355, -0.725892285482, -0.641541479776, 0.923113183173, 3.08352781405,
            -0.699228461507, -1.11109039273, 0.0931316026774, -0.151218980127, -2.22244551993,
        ),
        (
            -0.290779974297, 0.308096787256, -0.155813814344, 0.297036244393, 0.346826434422, -1.45851651108,
            0.532771797268, -0.168176421989, -0.011739985545, 0.104829250738, 0.0652667198715,
        ),
        (
            0.319938624041, 0.21868266438, -0.0151335782852, 0.114424749451, -0.493474159908, -1.70851554419,
            0.108656279719, 0.370467276139, 0.00711505599651, -0.0574342648433, 0.000787261529679,
        ),
    ),
    hidden_bias=(0.6787871071665472, -0.48685783358100304, 0.039108990839696475, -1.6939284761697957, -0.28349461167886536),
    output=(-4.07416059887, -7.2047065434, 0.0483362878681, -2.18735077383, 1.99832109577),
    output_bias=-2.2809721217137997,
    trained=(0.00016133808588640716, 0.9769660321565007),
    possible=(0.0, 0.94),
    tolerance=0.1,
)

FCOVER = Network(
    hidden=(
        (
            -0.09299549787532572, 0.03711751310275837, 0.35917948087916934, -2.0327599053936245, -0.3004739931440174,
            5.081364269387806, -0.5509229514856009, -1.8459014400791363, 0.04210879716286216, -0.1433820536680042,
            -0.0919637992244123,
        ),
        (
            0.17782538722557306, -0.3793824396587722, -0.18316058499587165, -0.8546862528226032, -0.07553090207841909,
            2.1968612305059834, -0.1734580018542482, -0.89158072360678, 0.017977829778812265, 0.19161704265110313,
            -0.020341567456493917,
        ),
        (
            -0.8964833683739212, -0.6038768961220443, -0.5995953059405849, -0.15212446911598965, 0.3889544003539062,
            1.9871015442471918, -0.9746781245763875, -0.28459612830995773, -0.7195016395928718, 0.4628341672035696,
            1.652035259226453,
        ),
        (
            -0.15296262636768043, 0.17628558201043018, 0.11212126329600514, 1.5711153194443364, 0.5209619736717268,
            -3.068192837466073, 0.1483332044127799, 1.2331177561153577, -0.02091226761957991, -0.23041694611129848,
            0.0031568086031440803,
        ),
        (
            1.7234228895153363, -2.906528582039084, -1.3938598383149996, -1.6262956756929428, 0.3326361580291295,
            -0.8862583674506147, -0.2185426118098439, 0.5660635905206617, -0.09949171171933309, -0.35271418839337,
            0.06514559686105968,
        ),
    ),
    hidden_bias=(-1.88600728336, -0.024986196419, 0.295104856285, 0.00293009964996, -3.35944991107),
    output=(0.21418510066217855, 2.354410480678047, 0.039929632100371135, 1.5480571230482811, -0.11310020940549115),
    output_bias=-0.15076057408085747,
    trained=(0.0001143371095669865, 0.9994883064311412),
    possible=(0.0, 1.0),
    tolerance=0.1,
)
# fmt: on


@indicator(units="m2/m2", valid_range=LAI.possible, reference=SOURCE, sensors=("s2",))
def lai(green, red, rededge1, rededge2, rededge3, nir08, swir16, swir22, view_zenith_deg, sun_zenith_deg, relative_azimuth_deg):
    """Leaf area index, green, per ground area, by the Sentinel-2 toolbox's network; needs one image with its angles."""
    bands = (green, red, rededge1, rededge2, rededge3, nir08, swir16, swir22)
    return _value(LAI, bands, (view_zenith_deg, sun_zenith_deg, relative_azimuth_deg))


@indicator(units="1", valid_range=FAPAR.possible, reference=SOURCE, sensors=("s2",))
def fapar(green, red, rededge1, rededge2, rededge3, nir08, swir16, swir22, view_zenith_deg, sun_zenith_deg, relative_azimuth_deg):
    """Share of photosynthetically active light that leaves absorb, by the same network; needs one image with its angles."""
    bands = (green, red, rededge1, rededge2, rededge3, nir08, swir16, swir22)
    return _value(FAPAR, bands, (view_zenith_deg, sun_zenith_deg, relative_azimuth_deg))


@indicator(units="1", valid_range=FCOVER.possible, reference=SOURCE, sensors=("s2",), aliases=("fcover", "fvc"))
def vegetation_cover(
    green, red, rededge1, rededge2, rededge3, nir08, swir16, swir22, view_zenith_deg, sun_zenith_deg, relative_azimuth_deg
):
    """Share of ground covered by green leaves from above, by the same network; needs one image with its angles."""
    bands = (green, red, rededge1, rededge2, rededge3, nir08, swir16, swir22)
    return _value(FCOVER, bands, (view_zenith_deg, sun_zenith_deg, relative_azimuth_deg))


def _value(network: Network, bands, angles_deg):
    """The network's variable where its inputs are within what it was trained on, else missing."""
    import numpy as np

    inputs = [np.asarray(band, "float64") for band in bands]
    inputs += [np.cos(np.radians(np.asarray(angle, "float64"))) for angle in angles_deg]
    trained = True
    scaled = []
    for number, (value, (low, high)) in enumerate(zip(inputs, TRAINED, strict=True)):
        if number < N_BANDS:  # the toolbox tests bands; an angle beyond is only rarer
            trained = trained & (value >= low) & (value <= high)
        scaled.append(2 * (value - low) / (high - low) - 1)
    total = network.output_bias
    for weights, bias, out in zip(network.hidden, network.hidden_bias, network.output, strict=True):
        total = total + out * np.tanh(bias + sum(weight * value for weight, value in zip(weights, scaled, strict=True)))
    low, high = network.trained
    value = (total + 1) / 2 * (high - low) + low
    least, most = network.possible
    usable = trained & (value >= least - network.tolerance) & (value <= most + network.tolerance)
    return np.where(usable, np.clip(value, least, most), np.nan)
