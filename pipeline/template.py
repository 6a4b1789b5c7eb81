"""What `python -m pipeline new DIR` writes: a configuration with every setting explained, to fill in."""

TEMPLATE = """\
# A study of forest carbon: fill in what is marked <-, delete what does not apply, uncomment what does.
# Paths count from the folder in which you run; ${VARIABLE}/file takes a folder from the environment.
#   check it:  python -m pipeline check CONFIG
#   run it:    snakemake --configfile CONFIG --cores 4

name: {name}                        # letters, digits, - and _; names logs and the STAC collection
title: My forest                    # <- what the report is headed with
results: results/{name}             # folder of maps, stands, report
resources: resources/{name}         # folder of what is dear to make again: frozen scenes, composites, lidar metrics

area:                               # where, and on which grid
  crs: EPSG:32650                   # <- projected, in metres, such as the UTM zone; all results are in it
  bounds: [500000, 2990000, 510000, 3000000]   # <- west, south, east, north in metres of that CRS
  # file: data/area.gpkg            # instead of bounds: the extent of a vector file
  resolution_m: 20                  # <- side of a cell, metres; best about as large as one plot
  chunk_px: 512                     # side of the unit of arithmetic, cells
  block_chunks: 8                   # side of a block (one job, one file), chunks

years: [2019, 2024]                 # <- dates to map, rising; one year gives stock, two or more give sinks too

sensors:                            # satellites; leave out for a study on lidar alone
  sentinel-2-l2a:                   # or landsat-c2-l2; see `python -m pipeline list sensors`
    catalog: earth-search           # <- a catalogue known by name, a STAC API's address, or a static catalog.json
    # collection: sentinel-2-l2a    # where the catalogue calls it something else
    # years: [2019, 2024]           # where they differ from the study's
    season: ["06-01", "09-30"]      # <- first and last day, MM-DD; leaves on. For a second season beside it name the
                                    # sensors s2_leafon and s2_leafoff: their predictors are s2_leafoff_ndvi and so on
    max_cloud_percent: 80           # scenes with more cloud are not read, percent
    check_radiometry: true          # looks at pixels of every scene; false: only where its metadata leave the offset open
    # cloud_dilation_m: 60          # clouds and shadows grown by another distance than the sensor's own, metres
    mask_water: false               # or true: what the quality layer calls water is left out, as clouds are
    reducer: median                 # how a season becomes one image, see `list reducers`; a list adds bands such as red_p10
    harmonise: none                 # or oli: reflectance as Landsat 8 and 9 see it, by published lines (also oli_ols)
    topographic: none               # or c, scs_c: slopes lit as level ground; needs copernicus-dem-glo30 among the sensors
    # series: {ndvi: [p10, p90, harmonic]}   # what the dates say of an index, as predictors such as s2_ndvi_p90
    series_years: 1                 # years whose dates a series looks at, its own the last
    min_clear_count: 1              # a cell with fewer clear looks stays missing
    # max_scenes: 12                # the clearest of each chunk, no more; leave out for all
    # target_day: "07-15"           # MM-DD that best_available_pixel goes by; leave out for the season's middle
    upsampling: bilinear            # how 20 m bands reach 10 m cells; or nearest: observed numbers only
    on_scene_error: fail            # or drop: go on without a scene that cannot be read, counted
    private_hosts: []               # servers of scenes in a private network that may be asked; others are refused
    data_folders: []                # folders outside a local catalogue's own that its files may lie in

  # sentinel-1-rtc:                 # radar: backscatter (gamma0, linear power), through clouds
  #   catalog: planetary-computer
  #   season: ["06-01", "09-30"]
  #   orbit: auto                   # or ascending, descending, both: mixed directions change the level
  #   speckle: multitemporal        # or lee, none: see docs/methods/radar-and-terrain.md
  # copernicus-dem-glo30:           # terrain, the same in every year: dem_elevation, dem_slope, dem_tpi, ...
  #   catalog: planetary-computer   # or a raster file of metres: data/dem.tif

lidar:                              # airborne campaigns; leave out for a study on satellites alone
  als2019:                          # a name of your own
    points: data/als2019            # <- a folder, files, a pattern or a STAC catalogue of LAS/LAZ/COPC tiles
    # catalog: planetary-computer     # instead of points: a catalogue known by name, or a STAC API's address
    # collection: 3dep-lidar-copc     # what is asked of it in the area, max_days_apart around date
    # items: USGS_LPC_UT_*            # only items whose id looks so, where several campaigns lie over one another
    # private_hosts: []               # servers of tiles in a private network that may be asked
    # data_folders: []                # folders outside a listing's own that its files may lie in
    # canopy_height: data/chm2019.tif   # instead of points: heights above ground in metres
    date: 2019-07-01                # <- when it was flown; a bare year means its 1 July
    # crs: EPSG:32650               # where the tiles do not say, or say it wrong
    vertical_unit: m                # of heights: m, ft, us-ft
    leaf: "on"                      # or "off"; campaigns that differ are never pooled untested
    # sampling: probability         # chance drew the strips that were flown, so that they speak for the land between
    ground_classes: [2]             # point classes that are ground
    buffer_m: 30                    # points read around a window, metres
    max_height_m: 80                # returns higher than this are left out, metres above ground
    min_covered_percent: 50         # a cell of which points cover less stays missing
    chm_resolution_m: 1.0           # side of the squares that canopy and its roughness are seen in
    # max_days_apart: 400           # flights of one campaign; farther apart they are two
    # heights: normalised           # the points' z is above ground already
    # drop_overlap: true            # leave out what is flagged as overlap of flight lines
    # thin_to_pts_m2: 4             # thin to equal density, to compare campaigns
    # thin_seed: 0                  # another number draws other pulses
    # classify_ground: csf          # tiles without ground classes: cloth simulation, and every product says so
    # cloth: {resolution_m: 0.5, rigidness: 1, threshold_m: 0.5}   # rigidness: 1 steep, 2 relief, 3 flat
    # canopy_products: true           # canopy height model, tree tops and crowns as files; or with settings of its own:
    #   surface: pit_free             # or highest: the highest return of each square, holes and all
    #   longest_edge_m: 1.0           # of the pit-free surface; about twice the spacing of pulses
    #   min_height_m: 2               # lower is no tree
    #   search_radius_m: 0.4          # a top is the highest within this radius ...
    #   search_radius_per_m: 0.06     # ... and this much more per metre of its height
    #   max_crown_radius_m: 12        # no crown reaches farther from its top

plots:                              # field plots
  file: data/plots.csv              # <- plot, date, x, y (and targets where they are there already)
  # layer: plots                    # of a GeoPackage with several
  # corners: data/corners.csv       # instead of file: plot corners in the site frame and on the map
  # subplot_m: 25                   # cuts plots given by corners into squares of this side, metres
  trees: data/trees.csv             # <- plot, date, tree, species, dbh_cm, height_m; leave out where plots carry targets
  crs: EPSG:32650                   # <- of the plots' coordinates
  # date: 2019                      # where the table has no date
  # date_order: day_first           # or month_first: of dates such as 1/7/2019, where none of them tells
  columns: {}                       # our name: yours, such as {plot: PLOT_ID, x: EASTING, date: [YEAR, MONTH]}
  units: {}                         # of columns that are in another unit than their name says, such as {area_ha: m2}
  # visits: [{date: 2014, columns: {agb_mg_ha: AGB14}}, {date: 2019, columns: {agb_mg_ha: AGB19}}]   # columns per date
  header_row: 1                     # of a spreadsheet with titles above the names of its columns
  # tree_layer: trees               # the sheet of a workbook, the layer of a GeoPackage
  tree_header_row: 1
  tree_columns: {}                  # the same for trees, such as {dbh_cm: DBH}
  tree_units: {}                    # such as {dbh_cm: mm, height_m: ft}
  # tree_visits: [{date: 2014, columns: {dbh_cm: D14}}, {date: 2019, columns: {dbh_cm: D19}}]
  tree_numbers: lasting             # or per_visit: a tree has another number at its next visit, and cannot be followed
  # encoding: cp949                 # of text that is neither UTF-8 nor GB 18030
  plot_status_codes: {}             # of the column plot_status: measured, no_forest, not_measured, such as {"3": not_measured}
  status_codes: {}                  # your code: live, dead, stump, gone, unseen, such as {"1": live, "2": dead}
  # species_codes: data/codes.csv   # code, species (or a mapping), where the trees carry codes
  # fixes: data/gps.csv             # repeated GPS fixes: plot, x, y; their spread is the error of the position
  fix_columns: {}                   # our name: yours, of fixes
  fix_position: mean                # or median: of the fixes of a plot
  radius_m: 11.28                   # <- of round plots, metres, where the table has no radius_m
  # area_ha: 0.04                   # instead of a radius, hectares
  # nested: [{min_dbh_cm: 5, radius_m: 4}, {min_dbh_cm: 10, radius_m: 12}]   # circles by dbh; {baf_m2_ha: 4}: angle count
  distances: horizontal             # or along_slope: radii were laid out along the ground; needs a column slope_deg
  sampling: purposive               # or probability: plots were chosen by chance, so that they speak for the area
  rules: {}                         # kind of finding: keep, leave_out, leave_out_plot, fail (docs/how-to/bring-your-plots.md)
  allometry: chave2014_with_height_by_site   # <- see `python -m pipeline list equations`; your own table (.csv); or a list
  # region: M240                    # of equations: the ecological division of `nsvb`, the province of others
  # groups: data/groups.csv         # taxon, level, group: for equations that go by groups of species
  # environment_e: -0.1             # of the site, for chave2014_without_height
  # expansion: temperate_pines      # biomass of plots that carry volume only: a forest type of IPCC 2006,
  #                                 # table 4.5, china_<taxon> (unverified), or your own table
  # expansion_per: stratum          # the mean volume of a stratum decides its class; plot: each plot its own, with steps
  # carbon_fractions: shipped       # by species; or nsvb, or your own table; else 0.47
  roots: {by: none}                 # belowground biomass and carbon of plots: equations, continuous, or
  #                                 # {by: table, zone: subtropical humid, continent: asia, origin: natural,
  #                                 #  forest_type: all, per: stratum}; per: plot gives steps at the class bounds
  errors: first_order               # or monte_carlo
  # iterations: 1000                # of monte_carlo
  # seed: 0                         # of its random numbers
  height_by: study                  # or stratum, species: height models of their own where there are pairs enough
  # wood_density: data/wood_density.csv   # family, genus, species, wood_density_g_cm3
  # height_pairs: data/heights.csv  # measured dbh and height, for trees without a height
  height_columns: {}                # our name: yours, of height_pairs
  height_units: {}                  # of height_pairs, such as {height_m: dm}
  height_model: michailoff          # or naslund, weibull, loglog1, loglog2, auto (lowest error at left-out heights)
  min_dbh_cm: 0                     # thinner trees are not counted, centimetres
  max_dbh_cm: 400                   # thicker trees are an error, centimetres
  unknown_species: fail             # or default: the mean of the known trees around
  # max_extrapolated_percent: 10    # refuse more of the biomass outside the diameters of its equations; else it is warned of
  max_years_apart: 1                # most years between a plot and its image or campaign

stands:                             # management polygons
  file: data/stands.gpkg            # <- any vector file
  # layer: stands                   # of a GeoPackage with several
  id: stand                         # <- column of names that do not repeat; several are joined, such as [LIN_BAN, XIAO_BAN]
  # stratum: forest_type            # column of strata; several are joined, such as [species, origin, age]
  # stratum_classes: {age: [20, 40]}              # numbers into classes: 0-20, 20-40, 40+
  # stratum_codes: {origin: {"1": natural, "2": planted}}   # codes into words, per column
  # district: COUNTY                # column of areas that are wanted beside the strata; several are joined
  # crs: EPSG:32650                 # where the file does not say
  # encoding: gbk                   # of a shapefile's texts
  # area_column: AREA               # declared areas, checked against the polygons
  area_unit: ha                     # of that column: ha, m2, mu, acre
  # grid_m: 100                     # instead of file: squares of this side, metres
  include_plots: false              # true: plots become stands as well
  overlaps: fail                    # or first: the common part goes to the stand listed first
  records: {}                       # stand inventories, weighed with the map and the stand's plots; for example
  # plan_2019:
  #   target: agb                   # the column is in the target's unit per hectare
  #   column: AGB_HA
  #   year: 2019                    # a study year: a record is not grown to another date
  #   error_percent: 20             # standard error in percent of the value, or
  #   se_column: AGB_SE             # a column of standard errors
  #   unbiased: false               # or true: drawn by chance; else probability plots tell its bias, or
  #   bias_percent: 10              # this bounds it (standard deviation, percent of the value)
  rules: {}                         # kind of finding: keep, leave_out, first, merge, fail (docs/how-to/bring-your-plots.md)

forest:                             # where the map holds biomass
  source: everywhere                # or raster, stands, canopy (lidar height and cover)
  # files: {2019: data/landcover_2019.tif, 2024: data/landcover_2024.tif}   # of source: raster, one per year
  values: [10]                      # classes of that raster that are forest
  min_height_m: 2                   # of source: canopy, metres
  min_cover_percent: 20             # of source: canopy, percent
  min_area_ha: 0                    # smaller patches are no forest, hectares

targets: [agb]                      # any of agb, volume, basal_area, dominant_height, stems

model:                              # from plots to the map
  regressor: default                # linear, or a mix where plots or predictors are many: `python -m pipeline list regressors`
  transform: sqrt                   # of the target: none, sqrt, log
  # predictors:                     # sets, the best first; a cell takes the first that is complete there
  #   lidar: [zmean, zmean_2m, zq95, cover_2m]
  #   satellite: [s2_ndmi, s2_nbr, s2_ndre, s2_swir16]
  # profile: my_profile.yaml        # a standard's list of indicators as predictors (`profile` in a set means all of it);
  #                                 # see config/example_profile.yaml
  path: auto                        # how sets after lidar's are fitted: direct (to plots), hierarchical (to what lidar predicts
                                    # where it was flown, and on beyond), auto (the better at plots left out)
  date_effect: always               # or auto, never: whether dates may differ beyond their predictors
  strata: none                      # or levels: strata of stands (stands.stratum) may differ at the same predictors, each by what
                                    # its plots tell; slopes: in slopes too; auto: as likely as plots say that they differ
  residuals: averaged               # how far residuals reach: all that plots allow, averaged; or upper_bound: the reach that
                                    # is not exceeded with a probability of 90 %, for intervals that must not be too narrow
  confidence_percent: 90            # of all intervals, percent
  min_clusters: 4                   # fewer plots (or clusters of plots) than this cannot be fitted
  # quantiles: [0.05, 0.5, 0.95]    # bands of the stock maps, of regressors quantile_forest, random_forest, extra_trees
  max_outside_domain_percent: 80    # more of the forest unlike every plot: no stand table is made, percent
  applicability_maps: true          # dissimilarity index and local point density per pixel and stand; false saves CPU

pools:                              # from biomass to tree carbon
  root_shoot: 0.26                  # belowground per aboveground biomass; or from_plots: by stratum, where plots.roots says how
  # root_shoot_se: 0.05             # its standard error, which stands and years share; without one it counts as exact
  root_shoot_source: global non-mangrove fallback, wri/carbon-budget
  carbon_fraction: 0.47             # t C per t dry matter
  # carbon_fraction_se: 0.01        # likewise
  carbon_fraction_source: IPCC 2006, vol. 4, table 4.3
  # expansion_factor_mg_m3: 0.6     # of a study of volume: Mg of aboveground biomass per m3 of stem
  # expansion_factor_se: 0.05       # likewise
  # expansion_factor_source: ...    # the table or study it comes from

min_cover_percent: 80               # a stand of which less is mapped has no total, percent

comparisons: {}                     # maps made by others, shown beside ours; for example
  # other_map:
  #   file: data/other_agb_2019.tif
  #   year: 2019
  #   target: agb
  #   crs: EPSG:32650               # where the file does not say
  #   band: 1
  #   lower_band: 2                 # of its interval
  #   upper_band: 3
  #   about: who made it, and how

plugins: []                         # modules of your own beside this run, such as [my_indicators]
# planted: {seed: 1}                # a synthetic forest with known truth in place of real data: see config/planted.yaml
"""
